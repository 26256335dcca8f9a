"""What a regret surface says of a recommendation whose truth is planted."""

from __future__ import annotations

import json

import numpy as np
import pytest

from planner.errors import EvidenceError
from planner.fit.regret import RegretSurface, fit_regret

BEST = np.log([1e-3, 2.0**19])


def valley(lr: np.ndarray, batch: np.ndarray) -> np.ndarray:
    u, v = np.log(lr) - BEST[0], np.log(batch) - BEST[1]
    return 2.0 + 0.02 * u**2 + 0.015 * v**2 - 0.01 * u * v + 0.002 * u**3


def grid() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    lr, batch = np.meshgrid(1e-3 * 2.0 ** np.arange(-3, 4), 2.0 ** np.arange(15, 24))
    lr, batch = lr.ravel(), batch.ravel()
    return lr, batch, valley(lr, batch)


def test_the_planted_optimum_is_found_and_costs_nothing():
    surface = fit_regret(*grid())
    np.testing.assert_allclose(surface.best, BEST, atol=1e-4)
    assert surface.least == pytest.approx(2.0, abs=1e-9)
    assert surface.rms < 1e-9
    assert float(surface.regret(1e-3, 2.0**19)) == pytest.approx(0, abs=1e-9)


def test_inside_the_hull_the_smoothed_loss_counts():
    surface = fit_regret(*grid())
    lr, batch = np.array([1.4e-3, 6e-4]), np.array([3e5, 9e5])
    np.testing.assert_allclose(surface.regret(lr, batch), valley(lr, batch) - 2.0, atol=1e-8)


def test_outside_the_hull_the_nearest_run_counts_and_a_diverged_one_is_infinite():
    lr, batch, loss = grid()
    loss[np.isclose(lr, 8e-3)] = np.nan
    surface = fit_regret(lr, batch, loss)
    assert float(surface.regret(2e-2, 2.0**19)) == np.inf
    far = float(surface.regret(1e-5, 2.0**15))
    assert far == pytest.approx(loss[(lr == lr.min()) & (batch == 2.0**15)][0] - 2.0)


def test_the_best_rate_at_a_batch_moves_with_it():
    surface = fit_regret(*grid())
    assert (
        surface.best_lr(2.0**21) > 1.2 * surface.best_lr(2.0**19) > 1.4 * surface.best_lr(2.0**17)
    )
    assert surface.best_lr(2.0**40) == pytest.approx(1e-3, rel=1e-3), "outside the hull: the best"


def test_noise_is_smoothed_away():
    lr, batch, loss = grid()
    noisy = loss + np.random.default_rng(0).normal(0, 0.003, len(loss))
    surface = fit_regret(lr, batch, noisy)
    assert float(surface.regret(1e-3, 2.0**19)) < 0.002
    assert np.abs(surface.best - BEST).max() < 0.35


def test_it_comes_back_from_json():
    lr, batch, loss = grid()
    loss[0] = np.nan
    surface = fit_regret(lr, batch, loss)
    again = RegretSurface.from_json(json.loads(json.dumps(surface.to_json())))
    at = (np.geomspace(1e-4, 2e-2, 9), np.full(9, 3e5))
    np.testing.assert_array_equal(again.regret(*at), surface.regret(*at))


def test_too_few_runs_and_runs_on_a_line_are_refused():
    lr, batch, loss = grid()
    with pytest.raises(EvidenceError, match="needs more than 10"):
        fit_regret(lr[:8], batch[:8], loss[:8])
    line = np.geomspace(5e-4, 2e-3, 20)
    with pytest.raises(EvidenceError, match="only one of lr and batch"):
        fit_regret(line, np.full(20, 2.0**19), valley(line, np.full(20, 2.0**19)))
