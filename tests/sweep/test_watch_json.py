"""Progress for machines: every line of stderr is one JSON object that stands for itself."""

from __future__ import annotations

import json
import math

from planner.run import Round, Run, Status, Trial
from planner.shape import size_from_mapping
from planner.sweep.events import Died, Progress
from planner.sweep.watch_json import JsonWatch

TRIAL = Trial("ladder", {"width": 48}, 2_000_000, 512, 0.016, 51_200)


def told(capsys, tell):
    watch = JsonWatch(2e13)
    watch.round_begins(Round(4, "ladder", (TRIAL,), "both sides of N*"), 1, 1e12)
    tell(watch)
    lines = capsys.readouterr().err.splitlines()
    return [json.loads(line, parse_constant=lambda _: 1 / 0) for line in lines]


def test_every_event_is_an_object_with_its_round(capsys, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "planted-secret")
    size = size_from_mapping({"params": 1000})
    run = Run(TRIAL, "k", Status.DONE, 2.5, 0.01, size, 2_000_000, 1e10, 90.0)

    def tell(watch):
        watch.progress(Progress("k", 1, 500_000, 3.0), TRIAL)
        watch.died(Died("k", 1, "killed with planted-secret"), TRIAL)
        watch.ended(run, 2e12)

    begins, progress, died, ended = told(capsys, tell)
    assert all(line["round"] == 4 and line["stage"] == "ladder" for line in (begins, ended))
    assert all(isinstance(line["time"], float) for line in (begins, progress, died, ended))
    assert (begins["event"], begins["spent_flops"]) == ("round", 1e12)
    assert (progress["tokens"], progress["train_loss"], progress["share"]) == (500_000, 3.0, 0.25)
    assert died["note"] == "killed with <hidden>"
    assert (ended["key"], ended["loss"], ended["spent_flops"]) == ("k", 2.5, 2e12)
    assert ended["flops"] == run.flops


def test_a_loss_that_is_none_is_null(capsys):
    size = size_from_mapping({"params": 1000})
    run = Run(TRIAL, "k", Status.FAILED, math.nan, math.nan, size, 0, 0.0, note="why")
    _, ended = told(capsys, lambda watch: watch.ended(run, 0.0))
    assert ended["loss"] is None
    assert (ended["status"], ended["note"]) == ("failed", "why")
