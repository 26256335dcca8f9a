"""Draws by fitting again to resampled runs."""

from __future__ import annotations

import numpy as np
import pytest

from planner.fit.bootstrap import bootstrap, clusters
from planner.fit.engine import fit_loss
from planner.fit.laws import CHINCHILLA, optimal_params
from planner.fit.points import Points
from planner.fit.solve import solve
from tests.fit.planted import TRUTH, ladder, many_runs

FLOPS = 5.76e23
BESIROGLU = np.array([1.8172, 482.0, 2085.0, 0.348, 0.366])
"""What many_runs plants."""


def test_a_nearly_absolute_loss_is_bootstrapped_and_says_so():
    runs = many_runs(0.01, n=120)
    assert "bootstrap over" in fit_loss(runs, law="chinchilla", delta=1e-3).method
    assert "bootstrap" not in fit_loss(runs, law="chinchilla").method


def test_too_few_clusters_are_not_resampled():
    assert "bootstrap" not in fit_loss(ladder(noise=0.01), law="chinchilla", delta=1e-4).method


def test_runs_of_one_size_are_drawn_together_where_sizes_are_many():
    sizes, tokens = np.repeat(np.geomspace(1e7, 1e9, 40), 2), np.tile([1e9, 1e10], 40)
    points = Points.of(sizes, tokens, CHINCHILLA.predict(TRUTH, sizes, tokens))
    cluster, kind = clusters(points, np.eye(80))
    assert (cluster.shape, kind) == ((80, 40), "sizes")
    few, kind = clusters(Points.of(sizes[:20], tokens[:20], np.exp(points.y[:20])), np.eye(20))
    assert (few.shape, kind) == ((20, 20), "runs")


def test_resampling_covers_the_optimum():
    # 40 sets of nominal 90 %: 31 to 40 are inside in 99 of 100 runs of a calibrated method.
    best, inside = np.log(float(optimal_params(BESIROGLU, FLOPS))), 0
    for seed in range(40):
        runs = many_runs(0.01, n=120, seed=seed)
        points = Points.of(runs.params, runs.tokens, runs.loss)
        solution = solve(points, CHINCHILLA, 1e-3)
        cluster, _ = clusters(points, np.eye(len(points)))
        free, share = bootstrap(
            points, CHINCHILLA, solution, cluster, (400, np.random.default_rng(seed))
        )
        assert share == pytest.approx(1.0)
        low, high = np.quantile(
            np.log(optimal_params(CHINCHILLA.theta_of(points, free), FLOPS)), [0.05, 0.95]
        )
        inside += low <= best <= high
    assert 31 <= inside <= 40
