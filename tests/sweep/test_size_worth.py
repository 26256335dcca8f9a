"""Further runs for the size, on a planted study run through the real loop."""

from __future__ import annotations

import numpy as np
import pytest

from planner.sweep.layout import in_ladder
from planner.sweep.size_worth import DEARER, further_sizes
from planner.sweep.worth import SHOWN
from tests.sweep.test_stages import swept


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    return swept(tmp_path_factory.mktemp("sizes"), "stages.warmup=off", "stages.weight_decay=off")


def test_without_a_ladder_there_is_nothing_to_improve_on(tmp_path):
    off = ("stages.ladder=off", "stages.held_out=off", "stages.confirm=off", "stages.warmup=off")
    assert further_sizes(swept(tmp_path, *off)) == []


def test_runs_are_new_suit_a_ladder_and_are_not_too_dear(state):
    worth = further_sizes(state)
    assert len(worth) == SHOWN
    for one in worth:
        (trial,) = one.trials
        size = state.proxy.size(trial.shape)
        assert state.key(trial) not in state.runs
        assert trial.tokens <= 1.02 * 110 * size.params_matmul
        assert one.flops <= DEARER * state.layout.c_max
        assert one.saves_nats > 0


def test_the_best_buy_stands_first(state):
    worth = further_sizes(state)
    per_flop = np.array([one.saves_nats / one.flops for one in worth])
    assert (np.diff(per_flop) <= 1e-12).all()


def test_every_rung_of_the_study_suits_its_own_rule(state):
    assert all(in_ladder(cell) for cell in state.layout.ladder)
