"""The drifting law on planted ladders: the valley counts, and how high it lies does not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from planner.fit.drifting import DRIFT, NOISE, decades, drifting
from planner.fit.laws import CHINCHILLA, optimal_params

TRUTH = np.array([1.8172, 482.01, 2085.43, 0.3478, 0.3658])
TARGET = 1e22


@dataclass(frozen=True)
class Rows:
    params: np.ndarray
    tokens: np.ndarray

    @property
    def flops(self):
        return 6.0 * self.params * self.tokens


def ladder(levels=6, sizes=6):
    """IsoFLOP levels .4 decades apart below the target, sizes within a factor of five."""
    flops = np.repeat(TARGET / 10 ** np.linspace(2.4, 0.4, levels), sizes)
    off = np.tile(np.linspace(-1.6, 1.6, sizes), levels)
    params = optimal_params(TRUTH, flops) * np.exp(off)
    return Rows(params, flops / 6.0 / params)


def losses(rows, seed, noise=NOISE, lift=0.0):
    """Losses of the truth; every level lies off it by a walk of sd ``lift`` per decade."""
    rng = np.random.default_rng(seed)
    away = decades(rows.flops, TARGET)
    level = np.unique(away)
    steps = np.diff(np.concatenate([[0.0], level**2]))
    walk = np.cumsum(rng.normal(size=len(level)) * lift * np.sqrt(steps))
    error = noise * rng.normal(size=len(away)) + walk[np.searchsorted(level, away)]
    return CHINCHILLA.predict(TRUTH, rows.params, rows.tokens) * np.exp(error)


def errors(lift, seeds=8, **more):
    rows = ladder()
    best = np.log(optimal_params(TRUTH, TARGET))
    found = []
    for seed in range(seeds):
        belief = drifting(rows, losses(rows, seed, lift=lift), rows, TARGET, **more)
        found.append(np.log(optimal_params(belief.theta, TARGET)) - best)
    return np.array(found)


@pytest.fixture(scope="module")
def drifted():
    return errors(3 * DRIFT)


def test_a_law_that_holds_is_found():
    assert np.abs(np.median(errors(0.0), axis=1)).mean() < 0.12


def test_levels_that_wander_move_the_best_size_little(drifted):
    """Three times the believed drift: the plain law's answer would be off several times as far."""
    assert np.abs(np.median(drifted, axis=1)).mean() < 0.2


def test_the_draws_are_wide_enough_for_what_they_miss(drifted):
    low, high = np.quantile(drifted, [0.05, 0.95], axis=1)
    assert ((low < 0) & (high > 0)).sum() >= 6


def test_draws_at_what_was_run_agree_with_it():
    rows = ladder()
    loss = losses(rows, 0, lift=DRIFT)
    belief = drifting(rows, loss, rows, TARGET)
    told = belief.log_loss(rows)
    off = (np.log(loss) - told.mean(axis=0)) / np.hypot(told.std(axis=0), belief.noise(rows))
    assert np.abs(off).max() < 3.5
    assert told.std(axis=0).max() < 2 * NOISE


def test_what_was_not_run_is_less_certain():
    rows = ladder()
    belief = drifting(rows, losses(rows, 0), Rows(rows.params * 3, rows.tokens * 3), TARGET)
    farther = belief.log_loss(Rows(rows.params * 3, rows.tokens * 3)).std(axis=0)
    assert farther.mean() > belief.log_loss(rows).std(axis=0).mean()


def test_a_size_far_from_the_best_is_believed_less():
    rows = ladder()
    noise = drifting(rows, losses(rows, 0), rows, TARGET).noise(rows).reshape(6, 6)
    assert (noise[:, 0] > noise[:, 2]).all()
    assert (noise >= NOISE).all()


def test_the_same_runs_give_the_same_draws():
    rows = ladder(4, 4)
    first, second = (drifting(rows, losses(rows, 1), rows, TARGET) for _ in range(2))
    assert np.array_equal(first.theta, second.theta)
    assert np.array_equal(first.drift, second.drift)
