"""Trials in processes: deaths of workers and of the driver, interrupts, nothing left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from planner.proxy import ProxySpec
from planner.run import Status, Trial
from planner.sweep.events import Died, Ended, Job, Progress
from planner.sweep.local import LocalExecutor

TOY = f"{Path(__file__).with_name('toy_proxy.py')}:Toy"
PATIENCE = 30.0

DRIVER = """
import sys
from planner.proxy import ProxySpec
from planner.run import Trial
from planner.sweep.events import Job, Progress
from planner.sweep.local import LocalExecutor

def submit(executor, toy, folder, do):
    shape = {"params": 10, "do": do, "pids": f"{folder}/{do}", "gate": f"{folder}/gate"}
    trial = Trial("seeds", shape, 1000, 10, 0.1, 100)
    executor.submit(Job(trial.key({}), trial, 1, ProxySpec(toy), f"{folder}/checkpoint"))

executor = LocalExecutor(2)
toy, folder, *todo = sys.argv[1:]
for do in todo:
    submit(executor, toy, folder, do)
while True:
    try:
        event = executor.next_event()
        if not isinstance(event, Progress):
            break
    except KeyboardInterrupt:
        open(f"{folder}/gate", "w").close()
        print("interrupted", flush=True)
print(getattr(event, "outcome", event), flush=True)
executor.close()
"""


@pytest.fixture
def executor():
    executor = LocalExecutor(1)
    yield executor
    executor.close()


def job(folder, seed=0, attempt=1, **shape):
    shape = {"params": 10, "pids": f"{folder}/pids", "gate": f"{folder}/gate"} | shape
    trial = Trial("seeds", shape, 1000, 10, 0.1, 100, seed=seed)
    return Job(trial.key({}), trial, attempt, ProxySpec(TOY), str(folder / "checkpoint"))


def last_event(executor):
    while isinstance(event := executor.next_event(), Progress):
        pass
    return event


def until(condition):
    """Wait for a condition, within the bound every test shares."""
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up, "it never came"
        time.sleep(0.01)


def pids(file):
    until(file.exists)
    return [int(pid) for pid in file.read_text().split()]


def alive(pid):
    """Say whether a process runs; one that only waits to be buried does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return bool(state.stdout.strip()) and not state.stdout.strip().startswith("Z")


def test_trials_run_side_by_side_and_each_ends_once(tmp_path):
    executor = LocalExecutor(2)
    jobs = [job(tmp_path, seed) for seed in range(6)]
    for each in jobs:
        executor.submit(each)
    ended = [last_event(executor) for _ in jobs]
    executor.close()
    assert sorted(event.key for event in ended) == sorted(each.key for each in jobs)
    assert len({event.outcome.metrics["pid"] for event in ended}) == 2
    assert all(len(event.curve["tokens"]) == 40 for event in ended)


def test_a_worker_has_one_thread(executor, tmp_path):
    executor.submit(job(tmp_path, do="threads"))
    assert last_event(executor).curve["train_loss"] == [1.0]


def test_a_trainers_prints_never_reach_our_standard_output(executor, tmp_path, capfd):
    executor.submit(job(tmp_path, do="print_much"))
    assert last_event(executor).outcome.status is Status.DONE
    executor.close()
    out, err = capfd.readouterr()
    assert out == ""
    assert "a trainer's own words" in err


def test_a_killed_worker_is_told_and_replaced(executor, tmp_path):
    executor.submit(job(tmp_path, do="wait"))
    (victim,) = pids(tmp_path / "pids")
    os.kill(victim, signal.SIGKILL)
    event = last_event(executor)
    assert isinstance(event, Died)
    assert "SIGKILL" in event.note
    executor.submit(job(tmp_path, attempt=2))
    event = last_event(executor)
    assert isinstance(event, Ended)
    assert (event.outcome.status, event.attempt) == (Status.DONE, 2)


@pytest.mark.parametrize("do", ["hang", "load_in_a_fork"])
def test_what_a_killed_worker_had_started_ends_with_it(executor, tmp_path, do):
    executor.submit(job(tmp_path, do=do))
    worker, program = pids(tmp_path / "pids")
    os.kill(worker, signal.SIGKILL)
    assert isinstance(last_event(executor), Died)
    until(lambda: not alive(program))


def test_a_worker_killed_while_idle_costs_nothing(executor, tmp_path):
    executor.submit(job(tmp_path))
    victim = int(last_event(executor).outcome.metrics["pid"])
    os.kill(victim, signal.SIGKILL)
    until(lambda: not alive(victim))
    executor.submit(job(tmp_path, seed=1))
    assert isinstance(last_event(executor), Ended)


def test_closing_ends_even_a_worker_that_never_reports(tmp_path):
    executor = LocalExecutor(1)
    executor.submit(job(tmp_path, do="hang"))
    started = pids(tmp_path / "pids")
    executor.close()
    until(lambda: not any(alive(pid) for pid in started))


def test_a_cancelled_trial_and_what_it_started_end(executor, tmp_path):
    running, queued = job(tmp_path, do="hang"), job(tmp_path, seed=1, do="wait")
    executor.submit(running)
    executor.submit(queued)
    until((tmp_path / "pids").exists)
    executor.cancel(queued.key, "no longer wanted")
    assert last_event(executor) == Died(queued.key, 1, "no longer wanted")
    executor.cancel(running.key, "took too long")
    executor.cancel(running.key, "once more")
    assert last_event(executor) == Died(running.key, 1, "took too long")
    until(lambda: not any(map(alive, pids(tmp_path / "pids"))))
    with pytest.raises(RuntimeError, match="submit one first"):
        executor.next_event()


def test_waiting_ends_after_the_time_given(executor, tmp_path):
    executor.submit(job(tmp_path, do="hang"))
    until((tmp_path / "pids").exists)
    last = executor.next_event(PATIENCE)
    while last is not None:
        last = executor.next_event(0.05)
    executor.cancel(job(tmp_path, do="hang").key, "enough")
    assert isinstance(last_event(executor), Died)


def test_waiting_for_nothing_is_refused(executor):
    with pytest.raises(RuntimeError, match="submit one first"):
        executor.next_event()


def start_driver(folder, *todo):
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, TOY, str(folder), *todo],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_workers_end_when_their_driver_is_killed(tmp_path):
    with start_driver(tmp_path, "wait", "hang") as driver:
        started = pids(tmp_path / "wait") + pids(tmp_path / "hang")
        assert all(alive(pid) for pid in started)
        driver.kill()
    until(lambda: not any(alive(pid) for pid in started))


def test_an_interrupt_reaches_the_driver_and_not_the_trial(tmp_path):
    with start_driver(tmp_path, "wait") as driver:
        pids(tmp_path / "wait")
        os.killpg(driver.pid, signal.SIGINT)
        out, _ = driver.communicate(timeout=PATIENCE)
    assert out.splitlines()[0] == "interrupted"
    assert "done" in out.splitlines()[1]
    assert driver.returncode == 0


def drain(executor, count):
    ended = []
    while len(ended) < count:
        event = executor.next_event()
        ended += [] if isinstance(event, Progress) else [event]
    return ended


def test_asked_to_leave_every_trial_goes_and_says_how_far_it_came(executor, tmp_path):
    running, queued = job(tmp_path, do="wait"), job(tmp_path, seed=1)
    executor.submit(running)
    executor.submit(queued)
    pids(tmp_path / "pids")
    executor.preempt()
    left = {event.key: (event.tokens, event.counts) for event in drain(executor, 2)}
    assert left == {running.key: (100, False), queued.key: (0, False)}


def test_a_worker_that_gets_sigterm_lets_its_trial_leave_and_ends(executor, tmp_path):
    executor.submit(job(tmp_path, do="wait"))
    (worker,) = pids(tmp_path / "pids")
    os.kill(worker, signal.SIGTERM)
    event = last_event(executor)
    assert (event.tokens, event.counts) == (100, False)
    until(lambda: not alive(worker))
    executor.submit(job(tmp_path, attempt=2))
    assert isinstance(last_event(executor), Ended)
