"""The linear rule is held against own cells, not assumed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from planner.fit.scaling_rule import batch_exponent, batch_rule
from planner.fit.transfer import fit_hyper
from tests.fit.hyper_world import World

BATCHES = (8, 32, 128, 512)


def cells(noise_batch, batches=BATCHES):
    world = World(np.random.default_rng(0), noise=0.001, log_noise_batch=float(np.log(noise_batch)))
    return fit_hyper(world.anchor(batches=batches, points=7), recipe={"unit": "images"})


def test_far_below_saturation_the_linear_rule_is_found_and_the_root_refused():
    fit = cells(1e5)
    m, low, high = batch_exponent(fit.cells, 0.05)
    assert low < 1.0 < high
    assert m == pytest.approx(1.0, abs=0.2)
    (found,) = [f for f in fit.findings if f.code == "batch-rule"]
    assert "linear rule (p = 1) is inside" in found.what


def test_beyond_saturation_no_rule_holds_and_the_bend_is_told():
    flat = cells(30.0, batches=(64, 256, 1024, 4096))
    m, _, high = batch_exponent(flat.cells, 0.05)
    assert m < 0.3
    assert high < 1.0
    (found,) = batch_rule(flat.cells, flat.prior)
    assert "linear rule (p = 1) is outside" in found.what
    bent = cells(100.0)
    (found,) = batch_rule(bent.cells, bent.prior)
    assert "stays behind the linear rule from a batch of about" in found.what


def test_a_horizon_rounded_to_whole_steps_is_the_same_horizon():
    found = cells(1e5)
    rounded = [
        replace(c, tokens=c.tokens * (0.992 if c.batch_tokens == BATCHES[-1] else 1.0))
        for c in found.cells
    ]
    assert batch_exponent(rounded, 0.05) == batch_exponent(found.cells, 0.05)
    apart = [replace(c, tokens=c.tokens * (1 + i)) for i, c in enumerate(found.cells)]
    assert batch_exponent(apart, 0.05) is None


def test_two_batches_say_nothing_of_a_rule():
    fit = cells(1e5, batches=(32, 128))
    assert batch_exponent(fit.cells, 0.05) is None
    (found,) = batch_rule(fit.cells, fit.prior)
    assert "was not measured" in found.what
    assert found.remedy


def test_beliefs_of_language_models_are_not_used_for_images():
    images = cells(1e5)
    assert "no published law counts images" in images.prior.source
    assert images.prior.level.sd >= 2.0
    words = fit_hyper(World(np.random.default_rng(0)).anchor())
    assert images.prior.source != words.prior.source
    assert "images" in fit_hyper([], recipe={"unit": "images"}).prior.source
