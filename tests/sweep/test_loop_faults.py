"""Whatever dies, hangs or comes late: each trial recorded once, all paid for, the rest goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from planner.ledger import Ledger
from planner.means import Budget
from planner.proxy import Outcome, ProxySpec, load_proxy
from planner.run import Round, Status, Trial
from planner.sweep.checkpoints import Checkpoints
from planner.sweep.events import Died, Ended, Progress
from planner.sweep.limits import Limits
from planner.sweep.local import LocalExecutor
from planner.sweep.rounds import Bench, RoundRunner
from planner.sweep.timeouts import Vigil
from tests.studies import Silence, space_file

ROOT = Path(__file__).parents[2]
TOY = ProxySpec(f"{Path(__file__).with_name('toy_proxy.py')}:Toy")
PATIENCE = 120.0

DRIVER = """
import sys
from pathlib import Path
from planner.ledger import Ledger
from planner.sweep import rounds
from planner.sweep.inline import InlineExecutor
from planner.sweep.local import LocalExecutor
from tests.sweep.test_loop_faults import make_round, make_runner

rounds.LEAVE_SECONDS = 600.0
folder, kind, *todo = sys.argv[1:]
executor = InlineExecutor() if kind == "inline" else LocalExecutor(2)
with Ledger.open(Path(folder) / "study") as ledger:
    step = make_round(Path(folder), *todo)
    if not ledger.rounds:
        ledger.decided(step, "1")
    try:
        make_runner(ledger, executor, host=kind).run(step)
    except KeyboardInterrupt:
        executor.close()
        sys.exit(130)
executor.close()
"""


def make_round(folder, *todo):
    """Return a round of one trial for each thing to do."""
    trials = []
    for seed, do in enumerate(todo):
        shape = {"params": 10, "do": do, "pids": f"{folder}/{seed}", "gate": f"{folder}/gate"}
        trials.append(Trial("seeds", shape, 1000, 10, 0.1, 100, seed=seed))
    return Round(1, "seeds", tuple(trials), "because")


def make_runner(ledger, executor, *, host="local", vigil=None, proxy=None):
    proxy = proxy or load_proxy(TOY)
    states = Checkpoints(ledger.folder / "checkpoints")
    bench = Bench(TOY, proxy, {}, host, states, vigil or Vigil())
    return RoundRunner(bench, ledger, executor, Silence(), Limits(Budget(flops=1e12)))


class Scripted:
    """An executor whose events are written down beforehand, as functions of the key."""

    def __init__(self, *script):
        self.workers, self.jobs, self.cancelled = 1, [], []
        self._events = deque(script)

    def submit(self, job):
        self.jobs.append(job)

    def next_event(self, timeout=None):
        return self._events.popleft()(self.jobs[-1].key)

    def cancel(self, key, note):
        self.cancelled.append(key)

    def preempt(self):
        pass


def ended(attempt, loss=1.0, status=Status.DONE):
    outcome = Outcome(status, loss, 0.0, 1000)
    return lambda key: Ended(key, attempt, outcome, {}, 1.0, "cpu")


def died(attempt, **more):
    return lambda key: Died(key, attempt, "killed", **more)


def progress(attempt, tokens):
    return lambda key: Progress(key, attempt, tokens, 2.0)


def run_script(tmp_path, *script, todo=("learn",)):
    """Run a round under scripted events; return the ledger and the executor."""
    executor = Scripted(*script)
    with Ledger.open(tmp_path / "study") as ledger:
        step = make_round(tmp_path, *todo)
        ledger.decided(step, "1")
        make_runner(ledger, executor).run(step)
        return ledger, executor


COST = 60.0 * 1000


def test_a_zombies_late_result_is_paid_and_not_recorded(tmp_path):
    ledger, _ = run_script(
        tmp_path, died(1, tokens=100), ended(1, 9.0), progress(1, 900), ended(2), todo=("learn",)
    )
    (run,) = ledger.runs.values()
    assert (run.loss, run.attempt) == (1.0, 2)
    assert ledger.spent_flops == pytest.approx(2 * COST)


def test_a_result_told_twice_is_recorded_and_paid_once(tmp_path):
    seen = []

    def first(key):
        seen.append(key)
        return ended(1)(key)

    ledger, _ = run_script(
        tmp_path, first, lambda key: ended(1, 9.0)(seen[0]), ended(1), todo=("learn", "learn")
    )
    assert [run.loss for run in ledger.runs.values()] == [1.0, 1.0]
    assert ledger.spent_flops == pytest.approx(2 * COST)


def test_a_zombie_of_an_earlier_round_disturbs_nothing(tmp_path):
    executor = Scripted(ended(1))
    with Ledger.open(tmp_path / "study") as ledger:
        first = make_round(tmp_path, "learn")
        ledger.decided(first, "1")
        make_runner(ledger, executor).run(first)
        old = executor.jobs[0].key
        again = Scripted(lambda key: ended(1, 9.0)(old), lambda key: progress(1, 5)(old), ended(1))
        second = replace(make_round(tmp_path, "learn", "learn"), number=2)
        ledger.decided(second, "1")
        make_runner(ledger, again).run(second)
        assert [run.loss for run in ledger.runs.values()] == [1.0, 1.0]
        assert ledger.spent_flops == pytest.approx(2 * COST)


def test_attempts_lost_before_the_driver_died_count(tmp_path):
    with Ledger.open(tmp_path / "study") as ledger:
        step = make_round(tmp_path, "learn")
        ledger.decided(step, "1")
        (trial,) = step.trials
        for attempt in (1, 2):
            size = load_proxy(TOY).size(trial.shape)
            ledger.started(trial.key({}), attempt, "local", trial, size)
            ledger.lost(trial.key({}), attempt, "killed")
    with Ledger.open(tmp_path / "study") as ledger:
        executor = Scripted(died(3))
        with pytest.raises(Exception, match="it died 3 times and came no further: killed"):
            make_runner(ledger, executor).run(step)
        assert len(executor.jobs) == 1


def run_real(folder, *todo, vigil=None, workers=2):
    executor = LocalExecutor(workers)
    try:
        with Ledger.open(folder / "study") as ledger:
            step = make_round(folder, *todo)
            ledger.decided(step, "1")
            make_runner(ledger, executor, vigil=vigil).run(step)
            return [ledger.runs[trial.key({})] for trial in step.trials]
    finally:
        executor.close()


def test_a_trial_that_kills_its_worker_every_time_is_given_up_and_the_rest_goes_on(tmp_path):
    poisoned, *others = run_real(tmp_path, "kill", "learn", "learn")
    assert poisoned.status is Status.FAILED
    assert poisoned.attempt == 3
    assert "memory ran out" in poisoned.note
    assert all(run.done for run in others)


def test_a_trial_that_hangs_is_stopped_tried_again_and_given_up(tmp_path):
    hangs, once, fine = run_real(tmp_path, "hang", "hang_once", "learn", vigil=Vigil(4.0))
    assert hangs.status is Status.FAILED
    assert "it hung: no sign of life" in hangs.note
    assert (once.status, once.attempt, once.loss) == (Status.DONE, 2, fine.loss)


def drive(folder, kind, *todo, **more):
    command = [sys.executable, "-c", DRIVER, str(folder), kind, *todo]
    return subprocess.Popen(command, cwd=ROOT, **more)


def test_a_trial_that_kills_the_driver_is_given_up_too(tmp_path):
    codes = [drive(tmp_path, "inline", "learn", "kill", "learn").wait(PATIENCE) for _ in range(4)]
    assert codes == [-signal.SIGKILL] * 3 + [0]
    runs = Ledger.read(tmp_path / "study").runs.values()
    assert sorted(run.status for run in runs) == [Status.DONE, Status.DONE, Status.FAILED]


def until(condition):
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up, "it never came"
        time.sleep(0.01)


def test_a_second_signal_ends_at_once_what_does_not_leave(tmp_path):
    driver = drive(tmp_path, "local", "hang")
    until((tmp_path / "0").exists)
    driver.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert driver.poll() is None
    driver.send_signal(signal.SIGINT)
    assert driver.wait(PATIENCE) == 130


SLOW = """
import os, time
from planner.proxies.synthetic import SyntheticProxy


class Patient:
    def __init__(self, ctx, begin):
        self.ctx, self.begin, self.checkpoint_dir = ctx, begin, ctx.checkpoint_dir
        self.state = ctx.checkpoint_dir / "state"

    def report(self, *, tokens, **values):
        if self.begin and tokens > self.begin:
            self.ctx.resumed(self.begin)
            self.begin = 0
        if not self.begin:
            time.sleep(float(os.environ.get("SLOW", 0)))
        try:
            self.ctx.report(tokens=tokens, **values)
        finally:
            if not self.begin:
                self.state.write_text(str(tokens))


class Slow(SyntheticProxy):
    def _report_curve(self, trial, ctx, end):
        state = ctx.checkpoint_dir / "state"
        begin = int(state.read_text()) if state.exists() else 0
        super()._report_curve(trial, Patient(ctx, begin), end)
"""


def has_come(log, ends):
    """Say whether so many trials have ended and another one is on its way."""
    text = log.read_text() if log.exists() else ""
    events = [json.loads(line) for line in text.split("\n")[:-1]]
    told = {event["key"] for event in events if event["event"] == "progress"}
    over = {event["run"]["key"] for event in events if event["event"] == "ended"}
    return len(over) >= ends and bool(told - over)


@pytest.mark.parametrize("executor", ["inline", "local"])
def test_sigterm_saves_leaves_and_nothing_is_trained_twice(tmp_path, executor):
    (tmp_path / "slow.py").write_text(SLOW)
    space, out = space_file(tmp_path), tmp_path / "study"
    line = [sys.executable, "-m", "planner", "sweep", str(space), "--out", str(out)]
    line += ["--executor", executor, "--workers", "2", "--no-report"]
    line += ["--set", f"proxy.name={tmp_path}/slow.py:Slow"]
    line += ["--set", "stages={finder: on, seeds: 0, lr_batch: off, warmup: off, held_out: off}"]
    log = out / "events.jsonl"
    for ends in (3, 5):  # the first three are range tests, which are quick here
        sweep = subprocess.Popen(
            line, env=os.environ | {"SLOW": "0.15"}, stderr=subprocess.PIPE, text=True
        )
        until(partial(has_come, log, ends))
        sweep.send_signal(signal.SIGTERM)
        _, said = sweep.communicate(timeout=PATIENCE)
        assert sweep.returncode == 130
        assert "the same command goes on" in said
        last = json.loads(log.read_text().splitlines()[-1])
        assert (last["event"], last["counts"]) == ("lost", False)
        assert last["tokens"] > 0
    subprocess.run(line, check=True, capture_output=True)
    ledger = Ledger.read(out)
    whole = sum(run.size.flops(run.tokens - run.trial.fork_at) for run in ledger.runs.values())
    assert ledger.spent_flops == pytest.approx(whole)
