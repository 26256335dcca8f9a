"""What a person sees of a sweep: which trial, how it ended, what is spent, what is left."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from planner.run import Round, Run, Schedule, Status, Trial
from planner.sweep.events import Died, Progress
from planner.sweep.loop import prepare
from planner.sweep.watch import LiveWatch, PlainWatch, describe, result
from tests.studies import small_space

TRIAL = Trial("ladder", {"width": 48, "depth": 2}, 2_000_000, 512, 0.016, 51_200, seed=3)
STEP = Round(4, "ladder", (TRIAL,), "sizes on both sides of N*")


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    return prepare(small_space(tmp_path_factory.mktemp("watch")))


@pytest.fixture
def ended(setup):
    def make(trial=TRIAL, status=Status.DONE, loss=2.5, **values):
        size = setup.proxy.size(trial.shape)
        return Run(trial, "k", status, loss, 0.01, size, trial.tokens, 1e12, 90.0, **values)

    return make


def test_a_trial_is_named_by_what_sets_it_apart():
    assert describe(TRIAL) == "width 48 depth 2, 2M tokens, batch 512, lr 0.016, seed 3"
    trunk = replace(TRIAL, schedule=Schedule("constant"))
    assert describe(trunk).startswith("trunk width")
    assert describe(replace(TRIAL, parent="t", fork_at=1_000_000)).startswith("fork width")
    assert describe(replace(TRIAL, schedule=Schedule("finder"))).startswith("range test width")


def test_every_way_to_end_is_told(ended):
    assert result(ended()) == "loss 2.5000 in 90 s"
    note = "diverged at 500000 tokens with learning rate 0.1"
    lost = ended(status=Status.DIVERGED, loss=math.nan, note=note)
    assert result(lost) == f"diverged: {note}"
    failed = ended(status=Status.FAILED, loss=math.nan, note="Traceback\n  ...\nOSError: disk full")
    assert result(failed) == "failed: OSError: disk full"
    assert result(ended(status=Status.PRUNED, loss=math.nan)) == "pruned: no note"
    finder = replace(TRIAL, schedule=Schedule("finder"))
    found = ended(finder, loss=math.nan, metrics={"lr_div": 0.25})
    assert result(found) == "breaks at lr 0.25, bracket only"


def test_plain_lines_say_where_the_sweep_stands(setup, ended, capsys):
    watch = PlainWatch(setup.layout, 2e13)
    assert watch.headline() == "starting"
    watch.round_begins(STEP, 2, 0.0)
    watch.progress(Progress("k", 1, 500_000, 3.0), TRIAL)
    watch.ended(ended(), 1e12)
    watch.died(Died("k", 2, "killed by signal 9"), TRIAL)
    out, err = capsys.readouterr()
    begins, line, died = err.splitlines()
    assert out == ""
    assert begins == "round 4 ladder: 2 trials; sizes on both sides of N*"
    assert "loss 2.5000 in 90 s" in line
    assert "1/2 trials, 1e+12 of 2e+13 FLOPs" in line
    assert "(attempt 2): killed by signal 9" in died


def test_the_time_left_counts_what_this_process_paid(setup, ended):
    watch = PlainWatch(setup.layout, 2e13)
    half = setup.layout.flops / 2
    watch.round_begins(STEP, 2, half)
    assert watch.time_left() == "?"
    watch.ended(ended(), setup.layout.flops * 2)
    assert watch.time_left() == "0 s"


def test_a_terminal_keeps_what_has_ended_above_the_live_line(setup, ended, capsys):
    with LiveWatch(setup.layout, 2e13) as watch:
        watch.round_begins(STEP, 1, 0.0)
        watch.progress(Progress("k", 1, 500_000, 3.0), TRIAL)
        watch.died(Died("k", 1, "killed"), TRIAL)
        watch.ended(ended(), 1e12)
    err = capsys.readouterr().err
    for text in ("sizes on both sides of N*", "a worker died", "loss 2.5000"):
        assert text in err
