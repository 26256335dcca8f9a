from dataclasses import replace

import numpy as np
import pytest

from planner.fit.surface import Surface
from planner.fit.unknowns import CURVATURE, DEPTH, SHARED
from tests.fit.surface_world import CELLS, PRIOR, Runs, World, grid


def fitted(runs, loss):
    return Surface.believed(PRIOR, CELLS, sigma=0.002).given(runs, loss)


def take(runs, rows):
    return Runs(runs.params[rows], runs.tokens[rows], runs.batch_tokens[rows], runs.lr[rows])


def test_the_derivative_is_that_of_the_loss():
    rng = np.random.default_rng(0)
    surface = Surface.believed(PRIOR, CELLS)
    theta, runs = surface.draws(1, rng)[0], grid()
    gradient, _ = surface.gradient(runs, theta)
    at = surface._at(runs)
    for p in range(len(theta)):
        step = np.zeros_like(theta)
        step[p] = 1e-6
        numeric = (at.loss(theta + step).loss - at.loss(theta - step).loss) / 2e-6
        np.testing.assert_allclose(gradient[:, p], numeric, atol=1e-6)


def test_the_planted_laws_come_back_and_their_sds_are_honest():
    """20 worlds of 60 runs: |z| of level, batch and slopes beyond 2.6 in no more than 3 of 100."""
    world, far = World(), 0
    truth = [world.level, world.size_slope, world.token_slope, world.noise_batch, world.batch]
    for seed in range(20):
        runs = grid()
        found = fitted(runs, world.loss(runs, np.random.default_rng(seed)))
        where = [0, 1, 2, 3, 5]
        sd = np.sqrt(np.diag(found.covariance)[where])
        far += int((np.abs((found.mean[where] - truth) / sd) > 2.6).sum())
    assert far <= 3


def test_floors_are_the_losses_at_the_optimum():
    world, runs = World(noise=1e-4), grid()
    found = fitted(runs, world.loss(runs, np.random.default_rng(0)))
    floors, sd = found.floors()
    truth = 1.7 + 400 * CELLS[:, 0] ** -0.34 + 400 * CELLS[:, 1] ** -0.28
    np.testing.assert_allclose(floors, truth, atol=0.004)
    assert np.all(sd < 0.004)


def test_a_diverged_run_is_a_bound_and_not_a_value():
    world, runs = World(), take(grid(), slice(0, 9))
    loss = world.loss(runs, np.random.default_rng(1))
    without = fitted(runs, loss)
    best = float(np.exp(world.log_lr(1e8, 2e9, 2.0**18)))

    def with_divergence_at(times):
        more = Runs(*(np.append(c, x) for c, x in zip(
            (runs.params, runs.tokens, runs.batch_tokens, runs.lr),
            (1e8, 2e9, 2.0**18, times * best), strict=True)))  # fmt: skip
        return fitted(more, np.append(loss, np.nan))

    assert with_divergence_at(1.0).mean[0] < without.mean[0]
    np.testing.assert_allclose(with_divergence_at(1e3).mean, without.mean, atol=1e-4)


def test_the_order_of_runs_does_not_matter():
    world, runs = World(), grid()
    loss = world.loss(runs, np.random.default_rng(2))
    order = np.random.default_rng(3).permutation(len(loss))
    one, other = fitted(runs, loss), fitted(take(runs, order), loss[order])
    np.testing.assert_allclose(one.mean, other.mean, atol=1e-6)


def test_nothing_seen_is_the_prior():
    none = take(grid(), slice(0, 0))
    found = fitted(none, np.array([]))
    np.testing.assert_allclose(found.mean[:SHARED], Surface.believed(PRIOR, CELLS).mean[:SHARED])


def test_a_run_elsewhere_is_refused():
    away = Runs(np.array([7e8]), np.array([2e9]), np.array([2.0**18]), np.array([1e-3]))
    with pytest.raises(ValueError, match="outside the cells"):
        fitted(away, np.array([2.5]))


def test_regret_and_optimum_of_a_known_cell():
    world, runs = World(noise=1e-4), grid()
    found = fitted(runs, world.loss(runs, np.random.default_rng(0)))
    log_lr, log_batch = found.optimum(1e8, 2e9, 2.0**18)
    assert abs(log_lr - world.log_lr(1e8, 2e9, 2.0**18)) < 0.1
    assert abs(log_batch - world.log_batch(2e9)) < 0.15
    off = Runs(np.array([1e8]), np.array([2e9]), np.array([2.0**18]), np.exp([log_lr + 1]))
    true = world.k[1] + world.h * (np.log(2.0**18) - world.log_batch(2e9)) ** 2
    np.testing.assert_allclose(found.excess(off, found.mean), true, rtol=0.2)


def test_both_sides_of_a_basin_are_believed_alike_where_no_spread_was_measured():
    """ln k below and above differ by their means within ``sides``, however wide each alone is."""
    sds = []
    for prior in (PRIOR, replace(PRIOR, sides=None)):
        covariance = Surface.believed(prior, CELLS).covariance[CURVATURE, CURVATURE]
        sds.append(np.sqrt(np.array([1, -1]) @ covariance[:2, :2] @ np.array([1, -1])))
    assert sds[0] < PRIOR.sides < sds[1]


def test_basins_that_grow_shallower_are_seen():
    world = World(noise=1e-4, shallower=(-0.2, -0.3))
    runs = grid()
    found = fitted(runs, world.loss(runs, np.random.default_rng(0)))
    np.testing.assert_allclose(found.mean[DEPTH], [-0.2, -0.3], atol=0.06)
