"""Priors: which family speaks, what it knows, and how it moves with the anchor."""

import json
from dataclasses import fields

import numpy as np
import pytest

from planner.fit.priors import OTHERS, STEP_LAW, Normal, Priors


def test_the_default_is_the_step_law_family_at_its_reference() -> None:
    assert Priors.published() == STEP_LAW.at(5e8, 2e10)
    assert np.exp(Priors.published().batch.mean) == pytest.approx(0.683 * 2e10**0.56)


def test_without_step_law_nothing_of_it_is_left() -> None:
    with_it, blind = Priors.published(2e8, 1e10), Priors.published(2e8, 1e10, without={"steplaw"})
    for field in fields(Priors):
        ours = getattr(blind, field.name)
        if isinstance(ours, Normal):
            assert ours != getattr(with_it, field.name)
            assert ours.sd > getattr(with_it, field.name).sd
    assert blind.lr_scatter != with_it.lr_scatter
    assert blind.source != with_it.source


def test_other_sources_hold_the_step_law_within_two_sd() -> None:
    known, blind = STEP_LAW.beliefs, OTHERS
    for name in ("level", "size_slope", "token_slope", "noise_batch", "batch", "batch_slope"):
        ours = getattr(blind, name)
        assert abs(getattr(known, name).mean - ours.mean) < 2 * ours.sd


@pytest.mark.parametrize("without", [(), ("steplaw",), ("all",)])
def test_levels_move_along_the_slopes_and_small_anchors_are_wide(without: tuple[str, ...]) -> None:
    here = Priors.published(1e8, 1e9, without=without)
    there = Priors.published(1e8, 1e10, without=without)
    assert there.batch.mean > here.batch.mean
    assert there.batch_slope == here.batch_slope
    small = Priors.published(2e4, 1e6, without=without)
    assert min(small.level.sd, small.batch.sd, small.noise_batch.sd) >= 1.5


@pytest.mark.parametrize("without", [(), ("steplaw",), ("all",)])
def test_of_small_models_the_noise_batch_stays_beside_the_best_batch(
    without: tuple[str, ...],
) -> None:
    reference, small = (
        Priors.published(*place, without=without) for place in ((5e8, 2e10), (2e4, 2e5))
    )
    apart = [prior.noise_batch.mean - prior.batch.mean for prior in (reference, small)]
    assert apart[0] == pytest.approx(apart[1])


def test_without_any_source_beliefs_are_orders_of_magnitude() -> None:
    vague = Priors.published(without={"all"})
    assert vague.level.sd > Priors.published(without={"steplaw"}).level.sd
    assert vague == Priors.published(without={"steplaw", "others"})


def test_an_unknown_family_is_named() -> None:
    with pytest.raises(ValueError, match="steplow; without can hold steplaw, others and all"):
        Priors.published(without={"steplow"})


def test_beliefs_survive_json() -> None:
    blind = Priors.published(without={"steplaw"})
    assert Priors.from_json(json.loads(json.dumps(blind.to_json()))) == blind
