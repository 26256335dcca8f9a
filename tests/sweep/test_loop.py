"""Killed, resumed or on another executor: the same rounds and the same plan."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from planner.errors import BudgetError, LedgerError, StudyLockedError, TooManyFailuresError
from planner.ledger import Ledger
from planner.run import Status
from planner.sweep.inline import InlineExecutor
from planner.sweep.loop import prepare, run_sweep, state_of
from planner.sweep.policy import audit, next_round
from tests.studies import Silence, small_space, space_file


def command(space: Path, out: Path, *extra: str) -> list[str]:
    return [sys.executable, "-m", "planner", "sweep", str(space), "--out", str(out), *extra]


def sweep(space: Path, out: Path, *extra: str) -> dict:
    """Run the command line to its end and return plan.json."""
    subprocess.run(command(space, out, "--no-report", *extra), check=True, capture_output=True)
    return json.loads((out / "plan.json").read_text())


@pytest.fixture(scope="module")
def inline_plan(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("inline")
    return sweep(space_file(folder), folder / "study")


@pytest.mark.parametrize("workers", ["1", "2", "4"])
def test_local_workers_give_the_inline_plan(tmp_path, inline_plan, workers):
    extra = ("--executor", "local", "--workers", workers)
    assert sweep(space_file(tmp_path), tmp_path / "study", *extra) == inline_plan


def test_killed_three_times_gives_the_same_plan(tmp_path, inline_plan):
    space, out = space_file(tmp_path), tmp_path / "study"
    log, rng, reached = out / "events.jsonl", random.Random(7), 0
    for _ in range(3):
        reached += rng.randrange(15, 50)
        process = subprocess.Popen(
            command(space, out, "--no-report", "--executor", "local", "--workers", "2"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None and _lines(log) < reached:
            time.sleep(0.002)
        assert process.poll() is None, "the sweep ended before it could be killed"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert sweep(space, out) == inline_plan
    with Ledger.open(out) as ledger:
        assert ledger.spent_flops <= small_space(tmp_path).budget.flops


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_a_finished_study_costs_nothing_to_run_again(tmp_path):
    setup = prepare(small_space(tmp_path))
    with Ledger.open(tmp_path / "study") as ledger:
        run_sweep(setup, ledger, InlineExecutor, Silence())
        spent = ledger.spent_flops

        def no_executor():
            raise AssertionError("a finished study needs no executor")

        state = run_sweep(setup, ledger, no_executor, Silence())
        assert ledger.spent_flops == spent
        assert next_round(state) is None
        assert audit(state) == []


def test_the_prediction_comes_before_its_rung(tmp_path):
    setup = prepare(small_space(tmp_path))
    with Ledger.open(tmp_path / "study") as ledger:
        run_sweep(setup, ledger, InlineExecutor, Silence())
    log = (tmp_path / "study/events.jsonl").read_text()
    events = [json.loads(line) for line in log.splitlines()]
    kinds = [
        event["round"]["stage"] if event["event"] == "decided" else event["event"]
        for event in events
    ]
    assert kinds.index("predicted") < kinds.index("held_out")
    assert kinds.count("predicted") == 1


def test_the_ladder_straddles_the_optimum_and_forks_branch_off_trunks(tmp_path):
    setup = prepare(small_space(tmp_path))
    with Ledger.open(tmp_path / "study") as ledger:
        run_sweep(setup, ledger, InlineExecutor, Silence())
        state = state_of(setup, ledger)
    ladder = state.runs_of("ladder")
    trunks = {run.key: run for run in ladder if run.trial.schedule.name == "constant"}
    forks = [run for run in ladder if run.trial.parent]
    assert forks
    for run in forks:
        trunk = trunks[run.trial.parent]
        assert run.trial.fork_at in trunk.trial.keep_at
        assert run.spent_flops == pytest.approx(run.size.flops(run.trial.new_tokens))
    best = setup.proxy.truth.optimal_size(setup.layout.c_max)
    params = [run.size.params_matmul for run in ladder]
    assert min(params) < best < max(params)


def test_an_exhausted_budget_keeps_what_has_ended(tmp_path):
    setup = prepare(small_space(tmp_path))
    tight = setup.space.model_copy(
        update={"budget": setup.space.budget.model_copy(update={"flops": 2e12})}
    )
    setup = type(setup)(tight, setup.spec, setup.proxy, setup.recipe, setup.layout)
    with Ledger.open(tmp_path / "study") as ledger:
        with pytest.raises(BudgetError, match=r"budget\.flops: what has ended is kept"):
            run_sweep(setup, ledger, InlineExecutor, Silence())
        assert 0 < ledger.spent_flops <= 2e12
        assert all(run.status is Status.DONE for run in ledger.runs.values())


FAILING = """
from planner.proxies.synthetic import SyntheticProxy


class Failing(SyntheticProxy):
    def train(self, trial, ctx):
        raise ValueError("the cluster's disk is gone")
"""


def test_a_proxy_that_always_fails_stops_the_sweep(tmp_path):
    path = tmp_path / "failing.py"
    path.write_text(FAILING)
    setup = prepare(small_space(tmp_path, f"proxy.name={path}:Failing"))
    with (
        Ledger.open(tmp_path / "study") as ledger,
        pytest.raises(TooManyFailuresError, match="disk is gone"),
    ):
        run_sweep(setup, ledger, InlineExecutor, Silence())


def test_a_proxy_that_always_diverges_stops_the_sweep_after_its_grid(tmp_path):
    path = tmp_path / "diverging.py"
    code = "        return Outcome(Status.DIVERGED, math.nan, math.nan, 10, 'loss nan at 10')\n"
    code = FAILING.replace('        raise ValueError("the cluster\'s disk is gone")\n', code)
    imports = "import math\nfrom planner.proxy import Outcome\nfrom planner.run import Status\n"
    path.write_text(imports + code)
    setup = prepare(small_space(tmp_path, f"proxy.name={path}:Failing", "stages.finder=off"))
    with Ledger.open(tmp_path / "study") as ledger:
        with pytest.raises(TooManyFailuresError, match=r"all \d+ trials so far diverged, at learn"):
            run_sweep(setup, ledger, InlineExecutor, Silence())
        stages = [run.trial.stage for run in ledger.runs.values()]
        assert "lr_batch" in stages
        assert "ladder" not in stages


def test_a_trial_that_fails_on_a_full_disk_is_not_recorded_and_tried_again(tmp_path, monkeypatch):
    path = tmp_path / "failing.py"
    path.write_text(FAILING)
    setup = prepare(small_space(tmp_path, f"proxy.name={path}:Failing"))
    with Ledger.open(tmp_path / "study") as ledger:
        monkeypatch.setattr(Ledger, "has_room", lambda self: False)
        with pytest.raises(LedgerError, match="make room"):
            run_sweep(setup, ledger, InlineExecutor, Silence())
        assert not ledger.runs
        monkeypatch.undo()
        assert ledger.has_room()
        with pytest.raises(TooManyFailuresError):
            run_sweep(setup, ledger, InlineExecutor, Silence())
        assert ledger.runs


def test_a_second_sweep_is_refused_while_one_runs(tmp_path):
    with Ledger.open(tmp_path / "study"), pytest.raises(StudyLockedError, match="process"):
        Ledger.open(tmp_path / "study")
