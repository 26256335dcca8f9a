"""One trial from plain data: outcomes, curves, progress; failures become results."""

import math
import platform
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from planner.proxy import ProxySpec
from planner.run import Schedule, Status, Trial
from planner.sweep.events import Died, Job, Progress
from planner.sweep.remote import RemoteError, RemoteFolder
from planner.sweep.worker import NOTE_CHARACTERS, run_job

TOY = f"{Path(__file__).with_name('toy_proxy.py')}:Toy"


def job(folder, do="learn", *, schedule="wsd", spec=None, lr=0.1, **more):
    shape = {"params": 10, "do": do}
    trial = Trial("seeds", shape, 1000, 10, lr, 100, Schedule(schedule), **more)
    return Job(trial.key({}), trial, 1, spec or ProxySpec(TOY), str(folder / "checkpoint"))


def run(job):
    told: list[Progress] = []
    return run_job(job, told.append), told


def test_a_trial_ends_with_its_outcome_and_its_curve(tmp_path):
    ended, _ = run(job(tmp_path))
    assert (ended.outcome.status, ended.outcome.loss) == (Status.DONE, 0.25)
    assert len(ended.curve["tokens"]) == 40
    assert ended.curve["train_loss"][-1] == pytest.approx(1 + 1 / 40)
    assert (tmp_path / "checkpoint").is_dir()


def test_points_that_lack_a_name_are_nan_in_its_column(tmp_path):
    ended, _ = run(job(tmp_path))
    shares = ended.curve["clip_share"]
    assert math.isnan(shares[0])
    assert shares[1] == 0.5
    assert {len(column) for column in ended.curve.values()} == {40}


def test_progress_comes_at_every_tenth_of_the_new_tokens(tmp_path):
    _, told = run(job(tmp_path))
    assert {event.tokens for event in told} >= {100 * k for k in range(1, 11)}


def test_a_fork_counts_progress_from_where_it_starts(tmp_path):
    _, told = run(job(tmp_path, parent="trunk", fork_at=500))
    assert {event.tokens for event in told} >= {550 + 50 * k for k in range(10)}


def test_the_options_reach_the_proxy(tmp_path):
    ended, _ = run(job(tmp_path, spec=ProxySpec(TOY, {}, {"loss": 0.5})))
    assert ended.outcome.loss == 0.5


def test_a_failure_is_a_result_with_its_traceback(tmp_path):
    ended, _ = run(job(tmp_path, "fail"))
    assert ended.outcome.status is Status.FAILED
    assert "no such corpus" in ended.outcome.note
    assert len(ended.outcome.note) <= NOTE_CHARACTERS
    assert ended.outcome.tokens == 100
    assert math.isnan(ended.outcome.loss)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (ProxySpec("no_such_module:Proxy"), "no_such_module cannot be imported"),
        (ProxySpec("missing.py:Proxy"), "missing.py does not exist"),
        (ProxySpec(TOY, {}, {"colour": "red"}), "colour"),
    ],
)
def test_a_proxy_that_cannot_be_made_is_a_failure_too(tmp_path, spec, says):
    ended, _ = run(job(tmp_path, spec=spec))
    assert ended.outcome.status is Status.FAILED
    assert says in ended.outcome.note


def test_a_proxy_that_leaves_the_program_only_fails(tmp_path):
    assert run(job(tmp_path, "leave"))[0].outcome.status is Status.FAILED


def test_a_loss_that_is_not_a_number_ends_the_trial_as_diverged(tmp_path):
    ended, _ = run(job(tmp_path, "break_up"))
    assert ended.outcome.status is Status.DIVERGED
    assert ended.outcome.note == "the loss became nan at 500 tokens (lr 0.1)"


def test_a_range_test_is_reduced_to_its_bracket(tmp_path):
    ended, _ = run(job(tmp_path, "sweep_lr", schedule="finder", lr=1.0))
    found = ended.outcome.metrics
    assert 1e-3 < found["lr_low"] < found["lr_steep"] < found["lr_high"] <= found["lr_div"] <= 1


def test_a_range_test_without_learning_rates_says_what_is_missing(tmp_path):
    ended, _ = run(job(tmp_path, "break_up", schedule="finder", lr=1.0))
    assert ended.outcome.status is Status.FAILED
    assert "the LR range test reported no lr" in ended.outcome.note


def test_a_trial_tells_what_it_took_of_its_machine(tmp_path):
    ended, _ = run(job(tmp_path))
    assert ended.host == platform.node()
    metrics = ended.outcome.metrics
    assert metrics["tokens_per_second"] >= 1000 / ended.seconds
    assert metrics["peak_memory_bytes"] > 1e6
    assert metrics["cpu_utilisation"] >= 0


def leave_at(job, tokens):
    """Run a job that is asked to leave at its first report from ``tokens`` on."""
    flag, told = Event(), []

    def emit(progress):
        told.append(progress)
        if progress.tokens >= tokens:
            flag.set()

    return run_job(job, emit, flag), told


def test_asked_to_leave_it_goes_at_its_next_report_and_goes_on_from_there(tmp_path):
    left, _ = leave_at(job(tmp_path, "go_on"), 500)
    assert left == Died(left.key, 1, left.note, 500, counts=False)
    ended, told = run(job(tmp_path, "go_on"))
    assert [event.tokens for event in told if event.resumed] == [500]
    assert ended.outcome.metrics["resumed_tokens"] == 500
    assert ended.curve["tokens"] == [25.0 * k for k in range(1, 41)]


def test_asked_to_leave_it_may_go_between_two_reports(tmp_path):
    flag = Event()
    flag.set()
    one = job(tmp_path, "step")
    died = run_job(one, lambda _: None, flag)
    assert died == Died(one.key, 1, died.note, 137, counts=False)


def test_what_fails_after_it_was_asked_to_leave_is_tried_again(tmp_path):
    flag = Event()
    flag.set()
    died = run_job(job(tmp_path, "leave"), lambda _: None, flag)
    assert isinstance(died, Died)
    assert not died.counts


def on_remote(job, tmp_path, **more):
    return replace(job, remote_dir=f"file://{tmp_path}/remote/{job.key}", **more)


def test_states_pass_through_a_url_from_machine_to_machine(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    left, _ = leave_at(on_remote(job(here, "go_on"), tmp_path), 500)
    assert left.tokens == 500
    assert not list(here.iterdir())
    ended, _ = run(on_remote(job(there, "go_on"), tmp_path))
    assert ended.outcome.metrics["resumed_tokens"] == 500
    assert not list(there.iterdir())


def test_a_fork_fetches_its_own_state_of_a_trunk_and_no_other(tmp_path):
    trunk = on_remote(job(tmp_path / "a", "keep", keep_at=(250, 500, 1500)), tmp_path)
    run(trunk)
    fork = on_remote(
        job(tmp_path / "b", "count_parent", parent=trunk.key, fork_at=500),
        tmp_path,
        remote_parent=trunk.remote_dir,
    )
    ended, _ = run(fork)
    assert ended.curve["train_loss"] == [2.0], "the state at 500, and the list of states"
    assert not list((tmp_path / "b").iterdir())


def test_a_url_that_cannot_be_reached_is_no_failure_of_the_trial(tmp_path, monkeypatch):
    monkeypatch.setattr("planner.sweep.remote.PAUSE_SECONDS", 0.0)
    (tmp_path / "remote").write_text("in the way")
    died, _ = run(on_remote(job(tmp_path, "go_on"), tmp_path))
    assert isinstance(died, Died)
    assert "cannot be kept" in died.note


def test_a_url_lost_on_the_way_costs_only_the_trial_whose_states_are_needed(tmp_path, monkeypatch):
    def refuse(self):
        raise RemoteError("gone")

    monkeypatch.setattr(RemoteFolder, "store", refuse)
    ended, _ = run(on_remote(job(tmp_path, "go_on"), tmp_path))
    assert ended.outcome.status is Status.DONE
    died, _ = run(on_remote(job(tmp_path, "go_on", keep_at=(500,)), tmp_path))
    assert isinstance(died, Died)
