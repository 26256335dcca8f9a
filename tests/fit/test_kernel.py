from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from planner.fit._exp_log import exp, log
from planner.fit._kernel import Rules, descend
from planner.fit.laws import CHINCHILLA, CHINCHILLA_TIED
from planner.fit.points import Points
from planner.fit.solve import residuals
from tests.fit.planted import TRUTH, ladder, many_runs


def points_of(observations, weights=None, slack=None):
    return Points.of(observations.params, observations.tokens, observations.loss, weights, slack)


def run(points, law, delta, starts, weights=None):
    rows = np.stack([points.x, points.z, np.exp(-points.y), points.weights, points.slack])
    rules = Rules(delta, *law.box(points))
    used = points.weights[None] if weights is None else weights
    # One kind of array, as in planner.fit.solve: see its _plain.
    return descend(rows, rules, *(np.require(a, float, ["C", "A", "W"]) for a in (used, starts)))


def anywhere(points, law, count, seed):
    return np.random.default_rng(seed).uniform(*law.box(points), size=(count, law.n_free))


def test_importing_the_solvers_does_not_load_the_compiler():
    code = "import sys, planner.fit.solve, planner.cli; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_exp_and_log_are_within_two_ulp():
    rng = np.random.default_rng(0)
    t = np.concatenate([rng.uniform(-60, 60, 2000), rng.normal(0, 1e-3, 200), [0.0]])
    wide = np.exp(t.astype(np.longdouble))
    assert max(abs(exp(float(v)) / w - 1) for v, w in zip(t, wide, strict=True)) < 4.5e-16
    m = np.exp(rng.normal(0, 2.0, 2000))
    exact = np.log(m.astype(np.longdouble))
    errors = np.array([float(log(float(v)) - w) for v, w in zip(m, exact, strict=True)])
    assert np.all(np.abs(errors) <= 2 * np.spacing(np.maximum(np.abs(exact.astype(float)), 0.5)))


@pytest.mark.parametrize("law", [CHINCHILLA, CHINCHILLA_TIED], ids=lambda law: law.name)
@pytest.mark.parametrize("delta", [1e-3, 1e-2, 1e100])
def test_starts_anywhere_in_the_box_reach_one_minimum(law, delta):
    points = points_of(many_runs(0.01, n=80, seed=3))
    ends = [run(points, law, delta, s[None]) for s in anywhere(points, law, 40, seed=1)]
    values, converged = np.array([e[1][0] for e in ends]), np.array([e[2][0] for e in ends])
    assert converged.mean() >= 0.95
    assert values[converged] == pytest.approx(values.min(), rel=1e-9)


@pytest.mark.parametrize("law", [CHINCHILLA, CHINCHILLA_TIED], ids=lambda law: law.name)
@pytest.mark.parametrize("delta", [3e-3, 1e100])
def test_at_the_end_no_direction_goes_down(law, delta):
    slack = np.where(np.arange(60) % 3 == 0, 0.3, 1.0)
    points = points_of(many_runs(0.01, n=60), np.linspace(0.5, 2.0, 60), slack)
    phi, value, converged = run(points, law, delta, law.starts(points))
    assert converged[0]

    def cost(at):
        return points.cost(residuals(points, law, np.atleast_2d(at)), delta)

    assert cost(phi)[0] == pytest.approx(value[0], rel=1e-12)
    steps = 1e-4 * np.random.default_rng(0).standard_normal((200, law.n_free))
    assert (cost(phi + steps) >= value[0] * (1 - 1e-12)).all()


def test_multiplicities_are_repeated_rows():
    data = many_runs(0.01, n=40, seed=5)
    points = points_of(data)
    times = np.random.default_rng(0).multinomial(40, np.ones(40) / 40)
    weighted = run(points, CHINCHILLA, 1e-3, CHINCHILLA.starts(points), times[None].astype(float))
    repeated = points_of(data.take(np.repeat(np.arange(40), times)))
    law = CHINCHILLA.theta_of(points, weighted[0][0])
    copies, value, _ = run(repeated, CHINCHILLA, 1e-3, CHINCHILLA.starts(repeated))
    assert weighted[1][0] == pytest.approx(value[0], rel=1e-9)
    assert law[3:] == pytest.approx(copies[0][3:], rel=1e-6)


def test_the_lowest_of_the_starts_wins_whatever_their_order():
    points = points_of(many_runs(0.01, n=60))
    bad = np.array([[-7.0, 0.0, -7.0, 1.9, 0.03]])
    starts = np.concatenate([bad, CHINCHILLA.starts(points), bad])
    both = run(points, CHINCHILLA, 1e-3, starts)
    assert both[1][0] <= run(points, CHINCHILLA, 1e-3, CHINCHILLA.starts(points))[1][0] * (
        1 + 1e-12
    )
    assert both[2][0]


def test_a_perfect_fit_is_an_end():
    points = points_of(ladder(TRUTH))
    phi, value, converged = run(points, CHINCHILLA, 1e-3, CHINCHILLA.starts(points))
    assert converged[0]
    assert value[0] < 1e-24
    assert CHINCHILLA.theta_of(points, phi[0]) == pytest.approx(TRUTH, rel=1e-6)


def test_refits_of_few_rows_are_answered_and_flagged():
    points = points_of(ladder(TRUTH, noise=0.003))
    weights = np.zeros((2, len(points)))
    weights[0, :3] = 5.0
    weights[1] = 1.0
    phi, _, converged = run(points, CHINCHILLA, 1e-3, CHINCHILLA.starts(points), weights)
    assert np.isfinite(phi).all()
    assert converged[1]


BATTERY = """
import hashlib
import numpy as np
from planner.fit._kernel import descend
from planner.fit.laws import CHINCHILLA, CHINCHILLA_TIED
from planner.fit.points import Points
from planner.fit.solve import refit, solve
from tests.fit.planted import many_runs

runs = many_runs(0.005, n=60)
points = Points.of(runs.params, runs.tokens, runs.loss)
counts = np.random.default_rng(0).multinomial(60, np.full(60, 1 / 60), 8).astype(float)
told = hashlib.sha256()
for law in (CHINCHILLA, CHINCHILLA_TIED):
    for delta in (0.001, 0.006, np.inf):
        end = solve(points, law, delta)
        told.update(end.free.tobytes())
        told.update(refit(points, law, delta, counts, end.free)[0].tobytes())
print(told.hexdigest(), len(descend.signatures))
"""


def test_code_from_the_cache_gives_the_bits_of_code_just_compiled(tmp_path):
    env = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", BATTERY]
    first, again = (
        subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout.split()
        for _ in range(2)
    )
    assert first == again
    assert first[1] == "1"
