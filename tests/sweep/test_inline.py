"""Trials in this process, one after the other."""

import threading
from pathlib import Path

import pytest

from planner.proxy import ProxySpec
from planner.run import Status, Trial
from planner.sweep.events import Died, Ended, Job, Progress
from planner.sweep.inline import InlineExecutor

TOY = f"{Path(__file__).with_name('toy_proxy.py')}:Toy"


@pytest.fixture
def executor():
    executor = InlineExecutor()
    yield executor
    executor.close()


def job(folder, seed=0, **shape):
    trial = Trial("seeds", {"params": 10} | shape, 1000, 10, 0.1, 100, seed=seed)
    return Job(trial.key({}), trial, 1, ProxySpec(TOY), str(folder / "checkpoint"))


def test_jobs_end_in_the_order_given(executor, tmp_path):
    jobs = [job(tmp_path, seed) for seed in range(3)]
    for each in jobs:
        executor.submit(each)
    ended = []
    while len(ended) < 3:
        event = executor.next_event()
        ended += [event.key] if isinstance(event, Ended) else []
    assert ended == [each.key for each in jobs]


def test_progress_is_told_while_the_trial_runs(executor, tmp_path):
    gate = tmp_path / "gate"
    executor.submit(job(tmp_path, do="wait", gate=str(gate), pids=str(tmp_path / "pids")))
    assert isinstance(executor.next_event(), Progress)
    gate.touch()
    while isinstance(event := executor.next_event(), Progress):
        pass
    assert isinstance(event, Ended)
    assert event.outcome.status is Status.DONE


def test_waiting_for_nothing_is_refused(executor):
    with pytest.raises(RuntimeError, match="submit one first"):
        executor.next_event()


def test_closing_stops_a_running_trial(tmp_path):
    executor = InlineExecutor()
    pids = str(tmp_path / "pids")
    executor.submit(job(tmp_path, do="wait", gate=str(tmp_path / "never"), pids=pids))
    executor.next_event()
    executor.close()
    assert not [t for t in threading.enumerate() if t.name == "planner-inline"]


def test_a_trial_that_never_reports_again_is_left_behind(executor, tmp_path):
    deaf = job(tmp_path, do="deaf", gate=str(tmp_path / "gate"), pids=str(tmp_path / "pids"))
    executor.submit(deaf)
    executor.submit(job(tmp_path, seed=1))
    assert isinstance(executor.next_event(), Progress)
    executor.cancel(deaf.key, "took too long")
    assert executor.next_event() == Died(deaf.key, 1, "took too long")
    while isinstance(event := executor.next_event(), Progress):
        pass
    assert event.outcome.status is Status.DONE
    (tmp_path / "gate").touch()


def test_asked_to_leave_the_running_trial_goes_at_its_next_report(executor, tmp_path):
    waits = job(tmp_path, do="wait", gate=str(tmp_path / "gate"), pids=str(tmp_path / "pids"))
    queued = job(tmp_path, seed=1)
    executor.submit(waits)
    executor.submit(queued)
    assert isinstance(executor.next_event(), Progress)
    executor.preempt()
    left = {}
    while len(left) < 2:
        event = executor.next_event()
        left |= {} if isinstance(event, Progress) else {event.key: (event.tokens, event.counts)}
    assert left == {queued.key: (0, False), waits.key: (100, False)}


def test_a_cancelled_trial_stops_at_its_next_progress(executor, tmp_path):
    waits = job(tmp_path, do="wait", gate=str(tmp_path / "gate"), pids=str(tmp_path / "pids"))
    executor.submit(waits)
    executor.submit(job(tmp_path, seed=1))
    assert isinstance(executor.next_event(), Progress)
    executor.cancel(waits.key, "took too long")
    while isinstance(event := executor.next_event(), Progress):
        pass
    assert event == Died(waits.key, 1, "took too long")
    while isinstance(event := executor.next_event(), Progress):
        pass
    assert isinstance(event, Ended)
