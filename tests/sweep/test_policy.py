"""Stages that do not wait for each other share a round, and old decisions are told as such."""

from __future__ import annotations

from dataclasses import replace

import pytest

from planner.ledger import Ledger
from planner.run import Round, Trial
from planner.sweep.inline import InlineExecutor
from planner.sweep.loop import prepare, run_sweep, state_of
from planner.sweep.policy import POLICY_VERSION, audit
from tests.studies import Silence, small_space


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    folder = tmp_path_factory.mktemp("policy")
    setup = prepare(small_space(folder, "stages.weight_decay=on"))
    with Ledger.open(folder / "study") as ledger:
        return run_sweep(setup, ledger, InlineExecutor, Silence())


def test_a_resume_takes_the_keys_from_the_ledger(state, tmp_path, monkeypatch):
    setup = prepare(small_space(tmp_path, "stages.weight_decay=on"))
    with Ledger.open(tmp_path / "study") as ledger:
        run_sweep(setup, ledger, InlineExecutor, Silence())
    monkeypatch.setattr(Trial, "key", lambda *_: pytest.fail("a key was worked out again"))
    again = state_of(setup, Ledger.read(tmp_path / "study"))
    assert {stage: [run.key for run in runs] for stage, runs in again.runs_by_stage.items()} == {
        stage: [run.key for run in runs] for stage, runs in state.runs_by_stage.items()
    }
    assert again.keys_of(again.rounds[2]) == state.keys_of(state.rounds[2])


def test_stages_that_build_on_the_grid_alone_share_a_round(state):
    stages = [entry.stage for entry in state.rounds]
    assert "seeds+confirm+warmup+weight_decay" in stages
    shared = state.rounds[stages.index("seeds+confirm+warmup+weight_decay")]
    assert {trial.stage for trial in shared.trials} == set(shared.stage.split("+"))
    for stage in shared.stage.split("+"):
        assert state.runs_of(stage), stage


def split(state):
    """Return the rounds as an older policy might have decided them: one for every stage."""
    rounds: list[Round] = []
    for entry in state.rounds:
        # a confirmation that knew the seeds would be another one
        for stage in sorted(
            {trial.stage for trial in entry.trials}, key=lambda s: (s != "confirm", s)
        ):
            trials = tuple(trial for trial in entry.trials if trial.stage == stage)
            rounds.append(Round(len(rounds) + 1, stage, trials, entry.why))
    return tuple(rounds)


def test_rounds_of_an_older_policy_are_told_as_regrouped(state):
    assert audit(state, [POLICY_VERSION] * len(state.rounds)) == []
    old = replace(state, rounds=split(state))
    told = audit(old, ["1"] * len(old.rounds))
    regrouped = [one for one in told if "would propose the same trials, in one round" in one]
    assert any(one.startswith("round 4 (confirm), decided by policy 1: ") for one in regrouped)
    assert not [one for one in told if "other trials" in one and "same trials" not in one]


def test_keys_and_fits_are_worked_out_once(state):
    again = replace(state)
    assert again.hyper is state.hyper
    assert again.keys_of(state.rounds[0]) is state.keys_of(state.rounds[0])
    assert again.keys_of(state.rounds[0]) == tuple(state.key(t) for t in state.rounds[0].trials)
    fewer = dict(list(state.runs.items())[:8])
    assert replace(state, runs=fewer).hyper is not state.hyper
