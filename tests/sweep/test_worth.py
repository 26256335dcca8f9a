"""The design stage and the ranked list, on planted studies run through the real loop."""

from __future__ import annotations

import pytest

from planner.decide.evidence import fit_hyper_of
from planner.sweep.layout import confirm_flops
from planner.sweep.policy import audit
from planner.sweep.worth import Question, further_runs
from tests.sweep.test_stages import swept


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    return swept(tmp_path_factory.mktemp("design"), "stages.confirm=design")


def test_the_design_stands_in_for_the_confirmation_and_costs_no_more(state):
    trials = [trial for trials in state.asked("design") for trial in trials]
    assert trials
    assert not state.asked("confirm")
    assert sum(state.cost(trial) for trial in trials) <= confirm_flops(state.layout.confirm)
    assert len({state.key(trial) for trial in trials}) == len(trials)


def test_it_leaves_the_anchor_to_learn_how_the_optimum_moves(state):
    cells = {(run.size.params_matmul, run.tokens) for run in state.runs_of("design")}
    assert len(cells) > 2


def test_its_rounds_are_recomputed_to_the_bit(state):
    assert audit(state) == []


def test_without_a_grid_there_is_nothing_to_improve_on(tmp_path):
    assert further_runs(swept(tmp_path, "stages.lr_batch=off", "stages.held_out=off")) == []


def test_further_runs_save_less_than_is_left_and_were_not_run_before(state):
    worth = further_runs(state)
    assert worth
    assert sum(one.saves_nats for one in worth) < Question.of(state).regret
    assert all(state.key(trial) not in state.runs for one in worth for trial in one.trials)


def test_what_the_design_bought_narrows_the_learning_rate_of_the_target(state):
    by_stage = dict(state.runs_by_stage)
    grids = {name: runs for name, runs in by_stage.items() if name != "design"}
    size, tokens = state.proxy.size({"width": 80, "depth": 2}), 4_000_000

    def width(runs):
        found = fit_hyper_of(runs).lr(size, tokens, 512)
        return found.high / found.low

    assert width(by_stage) < 0.8 * width(grids)
