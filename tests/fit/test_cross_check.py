from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from planner.finding import Severity
from planner.fit.cross_check import cross_check
from planner.fit.laws import CHINCHILLA, optimal_params
from planner.fit.points import Points
from planner.fit.solve import solve
from tests.fit.isoflop_world import ASYMMETRIC, BESIROGLU, isoflop_runs
from tests.fit.planted import ladder


def checked(runs, **options):
    points = Points.of(runs.params, runs.tokens, runs.loss)
    theta = solve(points, CHINCHILLA, np.inf).theta
    return cross_check(runs, CHINCHILLA, theta, theta[None], **options)


def test_the_parabolas_bias_is_stated_and_explains_what_it_finds():
    runs = isoflop_runs(ASYMMETRIC, width=16.0)
    target = 1000 * runs.flops.max()
    found = checked(runs, flops=target)
    parabola, cubic, valley = found.compared
    assert np.expm1(parabola.bias) == pytest.approx(0.336, abs=0.01)
    assert "+33.6% off without noise" in found.finding.what
    assert np.expm1(cubic.bias) == pytest.approx(-0.0018, abs=0.0005)
    assert abs(valley.bias) < 1e-4
    best = float(optimal_params(ASYMMETRIC, target))
    for compared in found.compared:
        assert compared.corrected.value == pytest.approx(best, rel=1e-3)
        assert "bias under the law removed" in compared.corrected.method
    assert found.finding.code == "isoflop-agrees"


@pytest.mark.parametrize("truth", [BESIROGLU, ASYMMETRIC])
def test_noise_alone_raises_no_alarm(truth):
    for seed in range(8):
        found = checked(isoflop_runs(truth, noise=0.003, seed=seed))
        assert found.finding.severity is Severity.INFO


def test_bottoms_that_do_not_move_as_the_law_says_raise_a_warning():
    runs = isoflop_runs(BESIROGLU, width=8.0)
    ideal = optimal_params(BESIROGLU, runs.flops)
    untuned = np.log(runs.params / ideal) - 0.35 * np.log(runs.flops / runs.flops.min())
    rng = np.random.default_rng(0)
    bent = 2.0 + 0.03 * np.cosh(0.35 * untuned) * (runs.flops / runs.flops.min()) ** -0.05
    found = checked(replace(runs, loss=bent * np.exp(0.0005 * rng.standard_normal(len(runs)))))
    assert found.finding.code == "isoflop-disagrees"
    assert found.finding.severity is Severity.WARNING
    assert found.finding.remedy
    assert found.finding.cost_flops > runs.flops.max()


def test_runs_without_levels_allow_no_cross_check():
    assert checked(ladder(noise=0.003)) is None
