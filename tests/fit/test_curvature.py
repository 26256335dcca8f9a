"""Curvatures of basins: a belief, own data, and a trend where losses fall by decades."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from planner.fit.curvature import SHRINKING, at_anchor, depth_slope
from planner.fit.hyper_fit import HyperFit
from planner.fit.priors import Normal
from planner.fit.transfer import fit_hyper
from planner.shape import Size
from tests.fit.hyper_world import World

SMALL, LARGE = Size(2e4, 2e4, 2e4, 1.2e5), Size(2e5, 2e5, 2e5, 1.2e6)


def images():
    return fit_hyper(World(np.random.default_rng(0)).anchor(), recipe={"unit": "images"})


def apart(fit, slope, away=1e3, sd=0.2):
    """Return the fit's cells once more, (N D) ``away`` from the anchor, planted on a trend."""
    low, high = (Normal(np.log(0.1) + slope * x, sd) for x in (0.0, np.log(away)))
    here = [replace(c, basin=replace(c.basin, log_k_low=low, log_k_high=low)) for c in fit.cells]
    there = [
        replace(c, tokens=c.tokens * away, basin=replace(c.basin, log_k_low=high, log_k_high=high))
        for c in here
    ]
    return (*here, *there)


def test_basins_of_images_become_shallower_and_those_of_language_models_do_not():
    fit = images()
    assert fit.depth_slope == pytest.approx(SHRINKING.mean, abs=0.2)
    assert fit.depth(LARGE, 1e7) < 0.5 * fit.depth(SMALL, 1e6)
    words = fit_hyper(World(np.random.default_rng(0)).anchor())
    assert words.depth_slope == 0.0
    assert words.depth(LARGE, 1e7) == 1.0
    assert (
        fit_hyper([], recipe={"unit": "images"}).depth_slope == 0.0
    )  # no cell, no anchor to be away from


def test_own_basins_that_lie_apart_decide_the_trend():
    fit = images()
    for slope in (0.0, -0.7):
        found = depth_slope(apart(fit, slope), fit.prior)
        assert found == pytest.approx(slope, abs=0.1)
    assert depth_slope((), fit.prior) == SHRINKING.mean


def test_a_basin_is_carried_to_the_anchor_along_the_trend():
    fit = images()
    cell = apart(fit, -0.5)[-1]
    low, high = at_anchor(cell, fit.prior, -0.5)
    assert low.mean == pytest.approx(np.log(0.1))
    assert high.sd == cell.basin.log_k_high.sd


def test_a_miss_costs_less_where_basins_are_shallower_and_is_read_back():
    fit = images()
    best = fit.lr(LARGE, 1e7, 512).value
    flat = replace(fit, depth_slope=0.0)
    ratio = fit.known_regret(LARGE, 1e7, 512, best / 4) / flat.known_regret(
        LARGE, 1e7, 512, best / 4
    )
    assert ratio == pytest.approx(fit.depth(LARGE, 1e7))
    read = HyperFit.from_json(fit.to_json())
    assert read.depth_slope == fit.depth_slope
    assert "depth_slope" not in flat.to_json()
    assert read.regret(1.0, 0.5) == pytest.approx(0.5 * read.regret(1.0))


def test_many_grids_that_end_at_their_best_batch_do_not_flatten_the_basin():
    """Twelve horizons, two batches each, the lower always better: any k would fit each alone."""
    world = World(np.random.default_rng(0), k_batch=0.03, batch_slope=0.0)
    runs = world.anchor(batches=(512, 2048), points=3)
    for params in (1e4, 2e4, 4e4):
        for tokens in (500_000, 2_000_000, 4_000_000, 8_000_000):
            for batch in (512, 2048):
                lr = np.exp(world.best_lr(params, tokens, batch))
                runs += world.cell(params, tokens, batch, lr * np.array([0.5, 1.0, 2.0]))
    fit = fit_hyper(runs)
    assert "batch-at-edge" in {finding.code for finding in fit.findings}
    assert fit.k_batch.low < 0.03 < fit.k_batch.high
    assert fit.batch_regret(np.log(4)) > 0.5 * world.k_batch * np.log(4) ** 2


def test_learning_rates_at_the_edge_of_their_grids_do_not_flatten_the_basin():
    world = World(np.random.default_rng(0))
    runs = []
    for tokens in (500_000, 1_000_000, 2_000_000, 4_000_000, 8_000_000, 16_000_000):
        lr = np.exp(world.best_lr(2e4, tokens, 512))
        runs += world.cell(2e4, tokens, 512, lr * np.array([1.0, 2.0, 4.0]))
    fit = fit_hyper(runs)
    assert fit.k_high.low < world.k_high < fit.k_high.high
    assert fit.k_low.low < world.k_low < fit.k_low.high
