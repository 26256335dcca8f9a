"""The law near a target from a planted ladder: cheap runs count less, and teach less."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from planner.fit.drifting import DRIFT, NOISE, drifting, wrong_by
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


def losses(rows, seed, bend=0.0):
    """Losses of the truth; ``bend`` moves valleys by so much of ln N per square decade below."""
    away = np.log10(TARGET / rows.flops)
    moved = np.exp(bend * away**2)
    error = NOISE * np.random.default_rng(seed).normal(size=len(away))
    return CHINCHILLA.predict(TRUTH, rows.params / moved, rows.tokens * moved) * np.exp(error)


def errors(bend, **more):
    rows = ladder()
    best = np.log(optimal_params(TRUTH, TARGET))
    beliefs = [drifting(rows, losses(rows, seed, bend), TARGET, **more) for seed in range(8)]
    return np.array([np.log(optimal_params(b.theta, TARGET)) - best for b in beliefs])


def test_a_law_that_holds_is_found():
    assert np.abs(np.median(errors(0.0), axis=1)).mean() < 0.12


def test_runs_far_below_a_bend_do_not_decide(monkeypatch):
    bent = np.abs(np.median(errors(0.15), axis=1)).mean()
    monkeypatch.setattr("planner.fit.drifting.DRIFT", 0.0)
    assert bent < 0.8 * np.abs(np.median(errors(0.15), axis=1)).mean()


def test_a_cheap_run_teaches_less_than_its_noise_says():
    rows = ladder()
    noise = drifting(rows, losses(rows, 0), TARGET, noise=0.002).noise(rows)
    assert noise[0] == pytest.approx(np.hypot(0.002, 2.4 * DRIFT))
    assert (np.diff(noise) <= 1e-12).all()


def test_runs_at_or_above_the_target_count_in_full():
    assert wrong_by(np.array([TARGET, 9 * TARGET]), TARGET, DRIFT) == pytest.approx(NOISE)


def test_the_same_runs_give_the_same_draws():
    rows = ladder(4, 4)
    first, second = (drifting(rows, losses(rows, 1), TARGET) for _ in range(2))
    assert np.array_equal(first.theta, second.theta)
