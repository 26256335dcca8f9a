from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from planner.fit.laws import CHINCHILLA, CHINCHILLA_TIED
from planner.fit.points import Points, huber
from planner.fit.registry import law_named
from planner.fit.solve import polish, refit, residuals, solve, undetermined
from tests.fit.planted import TRUTHS, ladder, many_runs


def points_of(observations):
    return Points.of(observations.params, observations.tokens, observations.loss)


@pytest.mark.parametrize("truth", TRUTHS, ids=str)
def test_noise_free_ladders_give_their_law_back(truth):
    points = points_of(ladder(truth))
    solution = solve(points, CHINCHILLA, 1e-3)
    assert solution.converged
    assert not solution.at_bound
    assert solution.theta == pytest.approx(truth, rel=1e-5)


def test_tied_law_gives_its_truth_back():
    truth = np.array([1.0, 50.0, 300.0, 0.36, 0.36])
    points = points_of(ladder(truth))
    assert solve(points, CHINCHILLA_TIED, 1e-3).theta == pytest.approx(truth, rel=1e-5)


@pytest.mark.parametrize("delta", [1e-3, 1e-2, np.inf])
@pytest.mark.parametrize("seed", range(3))
def test_no_other_optimiser_finds_a_lower_objective(delta, seed):
    points = points_of(many_runs(0.01, n=60, seed=seed))
    solution = solve(points, CHINCHILLA, delta)

    def objective(phi):
        return float(huber(residuals(points, CHINCHILLA, phi[None]), delta).sum())

    rng = np.random.default_rng(seed)
    for _ in range(4):
        start = solution.free + rng.normal(0, [0.1, 0.2, 0.2, 0.05, 0.05])
        other = minimize(objective, start, method="Nelder-Mead", options={"maxiter": 4000})
        assert solution.objective <= other.fun * (1 + 1e-9)


def test_a_start_in_a_worse_basin_never_wins():
    points = points_of(many_runs(0.01))
    good = solve(points, CHINCHILLA, 1e-3)
    bad = np.array([-9.0, 0.0, 0.0, 1.9, 0.03])
    both = polish(points, CHINCHILLA, 1e-3, np.stack([bad, good.free]))
    assert both.objective == pytest.approx(good.objective, rel=1e-12)


def test_the_answer_ignores_row_order_and_units():
    data = many_runs(0.01)
    plain = solve(points_of(data), CHINCHILLA, 1e-3)
    shuffled = data.take(np.random.default_rng(0).permutation(len(data)))
    other = Points.of(shuffled.params * 1.37, shuffled.tokens * 0.61, shuffled.loss / np.log(2))
    scaled = solve(other, CHINCHILLA, 1e-3)
    assert scaled.free[3:] == pytest.approx(plain.free[3:], rel=1e-6)
    assert np.exp(scaled.free[0]) * np.log(2) == pytest.approx(np.exp(plain.free[0]), rel=1e-6)


def test_a_collapsed_floor_is_said():
    points = points_of(ladder(np.array([-0.4, 60.0, 400.0, 0.35, 0.37])))
    assert "E" in solve(points, CHINCHILLA, np.inf).at_bound


def test_weights_move_the_fit_towards_heavy_rows():
    data = ladder(noise=0.01, seed=3)
    heavy = np.where(data.tokens == data.tokens.max(), 1e4, 1.0)
    points = Points.of(data.params, data.tokens, data.loss, heavy)
    weighted = residuals(points, CHINCHILLA, solve(points, CHINCHILLA, np.inf).free[None])[0]
    plain = residuals(points, CHINCHILLA, solve(points_of(data), CHINCHILLA, np.inf).free[None])[0]
    rows = heavy > 1
    assert (weighted[rows] ** 2).sum() < (plain[rows] ** 2).sum()


@pytest.mark.parametrize("law", [CHINCHILLA, CHINCHILLA_TIED], ids=lambda law: law.name)
@pytest.mark.parametrize("n", [15, 120])
def test_refits_converge_and_are_no_worse_than_solves_of_their_own(law, n):
    points = points_of(many_runs(0.01, n=n, seed=n))
    start = solve(points, law, 1e-3).free
    weights = np.random.default_rng(0).multinomial(n, np.ones(n) / n, size=200).astype(float)
    free, converged = refit(points, law, 1e-3, weights, start)
    assert converged.mean() > 0.99
    for b in range(180, 200):
        resampled = replace(points, weights=weights[b])
        own = solve(resampled, law, 1e-3)
        reached = resampled.cost(residuals(points, law, free[b : b + 1])[0], 1e-3)
        assert reached <= own.objective * (1 + 1e-9)


def test_refits_are_the_same_however_they_are_batched():
    points = points_of(many_runs(0.01, n=60))
    start = solve(points, CHINCHILLA, 1e-3).free
    weights = np.random.default_rng(0).multinomial(60, np.ones(60) / 60, size=40).astype(float)
    together, _ = refit(points, CHINCHILLA, 1e-3, weights, start)
    halves = [refit(points, CHINCHILLA, 1e-3, w, start)[0] for w in (weights[:20], weights[20:])]
    assert np.concatenate(halves) == pytest.approx(together, rel=1e-9)


def test_a_start_that_is_no_solution_does_not_spoil_refits():
    points = points_of(many_runs(0.01, n=60))
    weights = np.random.default_rng(0).multinomial(60, np.ones(60) / 60, size=80).astype(float)
    good, _ = refit(points, CHINCHILLA, 1e-3, weights, solve(points, CHINCHILLA, 1e-3).free)
    bad, converged = refit(points, CHINCHILLA, 1e-3, weights, np.array([-9.0, 0.0, 0.0, 1.9, 0.03]))
    assert converged.all()
    assert bad == pytest.approx(good, rel=1e-6)


def test_one_size_leaves_its_exponent_undetermined():
    data = ladder(noise=0.003, horizons=(1e6, 2e6, 4e6, 8e6))
    one = data.take(np.flatnonzero(data.params == data.params.min()))
    one_size = points_of(one)
    told = undetermined(one_size, CHINCHILLA, solve(one_size, CHINCHILLA, np.inf))
    assert "alpha" in told
    points = points_of(data)
    assert undetermined(points, CHINCHILLA, solve(points, CHINCHILLA, np.inf)) == ()


def test_a_run_that_may_be_under_tuned_pulls_less():
    data = ladder(noise=0.0)
    late = data.loss * np.where(np.arange(len(data)) % 4 == 0, 1.02, 1.0)
    slack = np.where(np.arange(len(data)) % 4 == 0, 0.0, 1.0)
    points = Points.of(data.params, data.tokens, late, slack=slack)
    assert solve(points, CHINCHILLA, np.inf).theta == pytest.approx(TRUTHS[0], rel=1e-4)


def test_other_forms_go_to_the_general_solver():
    points = points_of(many_runs(0.003, n=60))
    law = law_named("coupled")
    solution = solve(points, law, 1e-2)
    assert len(solution.free) == law.n_free
    weights = np.ones((3, 60))
    free, converged = refit(points, law, 1e-2, weights, solution.free)
    assert free.shape == (3, law.n_free)
    assert converged.dtype == bool
