"""Beliefs where nothing published applies: wide, and carried over the horizons of tokens."""

from __future__ import annotations

import numpy as np
import pytest

from planner.fit.priors import Priors
from planner.fit.priors_unpublished import is_published, owes_nothing, unpublished
from planner.fit.transfer import fit_hyper
from tests.fit.hyper_world import World


@pytest.mark.parametrize(
    ("unit", "optimizer", "known"),
    [
        ("tokens", "", True),
        ("tokens", "adamw", True),
        ("tokens", "Adam", True),
        ("tokens", "muon", False),
        ("tokens", "sgd", False),
        ("images", "", False),
        ("images", "adamw", False),
    ],
)
def test_published_laws_speak_of_tokens_under_adam(unit, optimizer, known):
    assert is_published(unit, optimizer) is known
    beliefs = fit_hyper([], recipe={"unit": unit, "optimizer": optimizer}).prior
    assert owes_nothing(beliefs) is not known
    assert (beliefs == Priors.published()) is known


def test_beliefs_about_muon_are_wide_and_follow_the_horizon():
    short, long = (unpublished("tokens", 1e5, at, optimizer="muon") for at in (1e6, 1e8))
    for prior in (short, long):
        assert min(prior.level.sd, prior.batch.sd, prior.noise_batch.sd) >= 2
        assert "muon" in prior.source
    assert long.batch.mean - short.batch.mean == pytest.approx(0.5 * np.log(100))
    assert short.level == long.level


def test_own_cells_decide_where_beliefs_are_wide():
    world = World(np.random.default_rng(0), noise=0.002)
    fit = fit_hyper(world.anchor(), recipe={"optimizer": "muon"})
    assert fit.own_share > fit_hyper([], recipe={"optimizer": "muon"}).own_share
    best = float(np.exp(world.best_lr(2e4, 1e6, 512)))
    size = next(run.size for run in world.anchor())
    assert fit.lr(size, 1e6, 512).contains(best)
