"""What a person sees of a sweep: which trial, how it ended, what is spent, what is left."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from planner.decide.standing import Standing
from planner.estimate import Estimate
from planner.ledger import Ledger
from planner.run import Round, Run, Schedule, Status, Trial
from planner.sweep.events import Died, Progress
from planner.sweep.loop import prepare
from planner.sweep.watch import LiveWatch, Meter, PlainWatch, describe, result
from planner.units import format_duration
from tests.studies import small_space

TRIAL = Trial("ladder", {"width": 48, "depth": 2}, 2_000_000, 512, 0.016, 51_200, seed=3)
STEP = Round(4, "ladder", (TRIAL,), "sizes on both sides of N*")


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    return prepare(small_space(tmp_path_factory.mktemp("watch")))


@pytest.fixture
def meter(setup, tmp_path):
    with Ledger.open(tmp_path / "study") as ledger:
        yield Meter(setup.layout, 2e13, ledger, slots=2, price=2.5)


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


def test_plain_lines_say_where_the_sweep_stands(meter, ended, capsys):
    watch = PlainWatch(meter)
    assert watch.headline() == "starting"
    watch.round_begins(STEP, 2, 0.0)
    watch.progress(Progress("k", 1, 500_000, 3.0), TRIAL)
    watch.ended(ended(), 1e12)
    watch.died(Died("k", 2, "killed by signal 9"), TRIAL)
    out, err = capsys.readouterr()
    begins, line, died, *_ = err.splitlines()
    assert out == ""
    assert begins == "round 4 ladder: 2 trials; sizes on both sides of N*"
    assert "loss 2.5000 in 90 s" in line
    assert "1/2 trials, 0/2 slots busy, 1e+12 of 2e+13 FLOPs, 0 device hours ($0)" in line
    assert "(attempt 2): killed by signal 9" in died


def test_the_time_left_is_what_the_stages_ahead_cost_at_the_pace_so_far(meter, ended):
    watch = PlainWatch(meter)
    watch.round_begins(STEP, 2, 0.0)
    assert watch.time_left() == "?"
    watch.ended(ended(), 1e12)
    prices = {stage.name: stage.flops for stage in meter.layout.stages}
    ahead = prices["held_out"] + max(0.0, prices["ladder"] - 1e12)
    assert watch.time_left() == format_duration(ahead * 90 / 1e12 / 2)


def test_a_round_tells_what_it_changed_about_the_target(meter, capsys):
    watch = PlainWatch(meter)
    watch.round_ends(STEP, Standing(0.02))
    loss = Estimate(1.5, 1.4, 1.7, 0.9, "law")
    watch.round_ends(STEP, Standing(0.01, loss, Estimate(1e8, 5e7, 2e8, 0.9, "law")))
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("expected regret of lr and batch at the target 0.02 nats")
    assert "0.01 nats (was 0.02); loss there 1.500 [1.400, 1.700], N* 100M" in second


@pytest.mark.parametrize(
    ("answer", "goes_on"), [("y", True), ("Yes", True), ("", False), ("n", False)]
)
def test_a_dear_round_needs_a_yes(meter, monkeypatch, capsys, answer, goes_on):
    monkeypatch.setattr("builtins.input", lambda *_: answer)
    with LiveWatch(meter) as watch:
        assert watch.ask("round 4 costs $8") is goes_on
    assert "round 4 costs $8. Go on? [y/N]" in capsys.readouterr().err


def test_a_terminal_keeps_what_has_ended_above_the_live_line(meter, ended, capsys):
    with LiveWatch(meter) as watch:
        watch.round_begins(STEP, 1, 0.0)
        watch.progress(Progress("k", 1, 500_000, 3.0), TRIAL)
        watch.died(Died("k", 1, "killed"), TRIAL)
        watch.ended(ended(), 1e12)
    err = capsys.readouterr().err
    for text in ("sizes on both sides of N*", "a worker died", "loss 2.5000"):
        assert text in err
