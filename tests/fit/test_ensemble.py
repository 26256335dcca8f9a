from __future__ import annotations

import numpy as np

from planner.fit.ensemble import WALKERS, ensemble


def test_a_narrow_tilted_ridge_is_drawn_in_full():
    covariance = np.array([[1.0, 9.9e-4], [9.9e-4, 1e-6]])
    inverse = np.linalg.inv(covariance)
    rng = np.random.default_rng(0)
    begin = 1e-3 * rng.standard_normal((WALKERS, 2))

    def log_density(phi):
        return -np.einsum("bi,ij,bj->b", phi, inverse, phi) / 2

    draws = ensemble(log_density, begin, 2000, rng)
    assert draws.shape == (2000, 2)
    assert np.abs(draws.mean(axis=0) / np.sqrt(np.diag(covariance))).max() < 0.15
    assert np.abs(np.cov(draws.T) / covariance - 1).max() < 0.15


def test_a_seed_gives_the_same_draws():
    begin = np.random.default_rng(1).standard_normal((WALKERS, 3))
    first, second = (
        ensemble(lambda p: -(p**2).sum(axis=1) / 2, begin, 400, np.random.default_rng(2))
        for _ in range(2)
    )
    assert np.array_equal(first, second)
