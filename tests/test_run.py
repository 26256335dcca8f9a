"""Trials and runs survive their JSON; keys see everything but the stage."""

from __future__ import annotations

import json
import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from planner.run import Round, Run, Schedule, Status, Trial
from planner.shape import Size

TRIAL = Trial("lr_batch", {"width": 32, "depth": 2}, 1 << 20, 256, 0.016, 51200)
RECIPE = {"proxy": "gpt", "data": "abc"}

trials = st.builds(
    Trial,
    stage=st.sampled_from(["lr_batch", "ladder"]),
    shape=st.dictionaries(st.sampled_from(["width", "depth"]), st.integers(1, 512)),
    tokens=st.integers(1, 10**12),
    batch_tokens=st.integers(1, 10**7),
    lr=st.floats(1e-9, 10),
    warmup_tokens=st.integers(0, 10**9),
    schedule=st.builds(Schedule, st.sampled_from(["wsd", "constant"]), st.floats(0, 1)),
    seed=st.integers(0, 2**31),
    parent=st.none() | st.text("0123456789abcdef", min_size=16, max_size=16),
    keep_at=st.lists(st.integers(1, 10**9)).map(tuple),
)


@given(trials)
def test_trial_survives_json(trial):
    again = Trial.from_json(json.loads(json.dumps(trial.to_json())))
    assert again == trial
    assert again.key(RECIPE) == trial.key(RECIPE)


def test_key_ignores_the_stage_and_nothing_else():
    assert replace(TRIAL, stage="seeds").key(RECIPE) == TRIAL.key(RECIPE)
    assert replace(TRIAL, seed=1).key(RECIPE) != TRIAL.key(RECIPE)
    assert replace(TRIAL, lr=0.0160001).key(RECIPE) != TRIAL.key(RECIPE)
    assert TRIAL.key(RECIPE | {"data": "other"}) != TRIAL.key(RECIPE)


def test_a_fork_pays_for_its_branch_only():
    fork = replace(TRIAL, parent="0" * 16, fork_at=800_000)
    assert fork.new_tokens == TRIAL.tokens - 800_000


def test_run_survives_json():
    size = Size(33_000, 25_000, 41_000, 3e5)
    run = Run(TRIAL, "k", Status.DONE, 1.75, 0.01, size, 1 << 20, 3e11, metrics={"clip_share": 0.1})
    data = json.loads(json.dumps(run.to_json()))
    assert Run.from_json(data) == run
    assert math.isclose(data["flops"], 3e5 * (1 << 20))


def test_round_survives_json():
    entry = Round(3, "ladder", (TRIAL,), "why")
    assert Round.from_json(json.loads(json.dumps(entry.to_json()))) == entry
