"""Which runs were made: too few, too narrow, on one side."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from planner.finding import Severity
from planner.fit.check import check_fit, check_points, too_thin
from planner.fit.check.design import check_sides
from planner.fit.forms import FORMS
from planner.fit.laws import CHINCHILLA
from planner.observations import Observations
from tests.fit.check.codes import codes, one
from tests.fit.planted import TRUTH, ladder, many_runs, observed

DRAWS = np.tile(TRUTH, (10, 1))


def fit_codes(data, theta=TRUTH, status="converged"):
    return codes(check_fit(data, theta, status, 0.005, DRAWS))


def test_a_sound_ladder_raises_nothing_on_its_points():
    assert codes(check_points(ladder(noise=0.005, horizons=(1e6, 2e6, 4e6)))) == set()
    assert codes(check_points(many_runs(0.01))) == set()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (ladder().take(np.arange(4)), "at least 5"),
        (ladder().take(np.arange(3).repeat(2)), "one size"),
        (ladder(horizons=(1e6,), sizes=6), "one horizon"),
        (ladder().take(np.array([0, 1, 3, 0, 1, 3])), "distinct pairs"),
        (replace(ladder(), loss=ladder().loss - 5), "positive"),
        (replace(ladder(), flops=-ladder().flops), "overflows 64-bit"),
        (replace(ladder(), censored=np.arange(15) > 3), "at least 5"),
    ],
)
def test_evidence_too_thin_says_why(data, reason):
    assert reason in "; ".join(too_thin(data))


def test_every_reason_is_told_at_once():
    flat = ladder().take(np.zeros(6, dtype=int))
    assert len(too_thin(flat)) == 2


def test_narrow_range_says_what_would_widen_it():
    finding = one(check_points(ladder(horizons=(1e6, 1.5e6, 2e6))), "narrow-range")
    assert finding.cost_flops == pytest.approx(6e10 * 10**1.5)


def test_few_sizes_and_horizons():
    assert "few-sizes" in codes(check_points(ladder(sizes=3)))
    assert "few-horizons" in codes(check_points(ladder(horizons=(1e6, 8e6))))


def test_sizes_and_horizons_that_rise_together():
    params = np.geomspace(1e6, 1e9, 12)
    tokens = 20.0 * params
    data = observed(params, tokens, CHINCHILLA.predict(TRUTH, params, tokens))
    assert "collinear" in codes(check_points(data))


def test_sizes_on_one_side_of_the_optimum():
    params, tokens = np.repeat(np.geomspace(1e4, 4e4, 5), 3), np.tile([2e7, 4e7, 8e7], 5)
    small = observed(params, tokens, CHINCHILLA.predict(TRUTH, params, tokens))
    finding = one(check_fit(small, TRUTH, "converged", 0.005, DRAWS), "one-sided")
    assert finding.severity is Severity.BLOCKING
    assert "below" in finding.what
    theta = np.array([1.8172, 482.0, 2085.0, 0.348, 0.366])
    assert "one-sided" not in fit_codes(many_runs(0.01), theta)


def test_the_best_size_is_that_for_the_data_there_are():
    """Data seen again and again are worth less, so that N* lies higher than for fresh ones."""
    law, theta = FORMS["data-constrained"], np.array([0.1, 40.0, 900.0, 0.7, 0.85, 8.0, 1e3])
    n, d = (a.ravel() for a in np.meshgrid([1e3, 3e3, 9e3, 2.7e4], [8e3, 3.2e4, 1.28e5]))
    unique = np.full(n.shape, 400.0)
    blank, keys = np.full(n.shape, np.nan), tuple(map(str, range(len(n))))
    loss = law.predict(theta, n, d, unique)
    runs = Observations(
        n, d, 6 * n * d, loss, blank, blank, blank, keys, keys, unique_tokens=unique
    )
    few = runs.take(n < 2e3)
    (found,) = check_sides(few, law, theta)
    told = float(found.what.split("N* = ")[1].split(" ")[0])
    sizes = np.geomspace(1e2, 1e8, 4001)
    c = float(few.flops.max())
    along = law.predict(theta, sizes, c / 6 / sizes, np.full(4001, 400.0))
    assert told == pytest.approx(sizes[along.argmin()], rel=0.02)
    assert told > 1.2 * law.optimal_params(theta[None], c)[0]
