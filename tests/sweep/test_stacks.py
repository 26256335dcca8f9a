"""Trials trained together: the plan is that of trials trained alone, and none harms the others."""

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from planner.errors import BudgetError
from planner.ledger import Ledger
from planner.means import Budget
from planner.proxy import ProxySpec, load_proxy
from planner.run import Round, Status, Trial
from planner.sweep.checkpoints import Checkpoints
from planner.sweep.events import Died, Job, Progress
from planner.sweep.inline import InlineExecutor
from planner.sweep.limits import Limits
from planner.sweep.local import LocalExecutor
from planner.sweep.loop import prepare, run_sweep
from planner.sweep.pace import Pace, Work
from planner.sweep.rounds import Bench, RoundRunner
from planner.sweep.stacks import calls_of
from planner.sweep.timeouts import Vigil
from planner.sweep.worker import run_call
from tests.studies import Silence, small_space

FILE = Path(__file__).with_name("stack_proxy.py")
TOYS = ProxySpec(f"{FILE}:Toys")
COST = 60.0 * 1000


def trials_of(*todo, **shape):
    return tuple(
        Trial("seeds", {"params": 10, "do": do} | shape, 1000, 10, 0.1, 100, seed=seed)
        for seed, do in enumerate(todo)
    )


def run_round(folder, executor, trials, *, budget=1e12, host="local", vigil=None):
    """Run a round of these trials; return the ledger and its runs in the order asked for."""
    step = Round(1, "seeds", trials, "because")
    states = Checkpoints(folder / "study" / "checkpoints")
    bench = Bench(TOYS, load_proxy(TOYS), {}, host, states, vigil or Vigil())
    with Ledger.open(folder / "study") as ledger:
        if not ledger.rounds:
            ledger.decided(step, "1")
        try:
            RoundRunner(bench, ledger, executor, Silence(), Limits(Budget(flops=budget))).run(step)
        finally:
            executor.close()
        return ledger, [ledger.runs[trial.key({})] for trial in trials]


def stack_of(folder, *todo, **shape):
    first, *others = (
        Job(trial.key({}), trial, 1, TOYS, str(folder / trial.key({})))
        for trial in trials_of(*todo, **shape)
    )
    return replace(first, stack=tuple(others))


def named(count, **shape):
    return {
        f"k{place}": trial for place, trial in enumerate(trials_of(*["learn"] * count, **shape))
    }


def test_stacks_are_filled_evenly_and_leave_no_slot_idle():
    proxy, trials = load_proxy(TOYS), named(9)
    devices = dict.fromkeys(trials, "cpu")
    assert [len(call) for call in calls_of(trials, devices, proxy, 1)] == [5, 4]
    assert [len(call) for call in calls_of(trials, devices, proxy, 3)] == [3, 3, 3]
    assert {len(call) for call in calls_of(trials, devices, proxy, 9)} == {1}
    both = calls_of(trials, devices | {"k0": "cuda:0", "k1": "cuda:0"}, proxy, 1)
    assert sorted(map(len, both)) == [2, 7]


def test_what_is_not_stackable_goes_alone():
    proxy, trials = load_proxy(TOYS), named(4)
    assert calls_of(trials, {}, proxy, 1) == [[key] for key in trials]
    assert len(calls_of(trials, {"k1": "cpu", "k3": "cpu"}, proxy, 1)) == 3
    plain = load_proxy(ProxySpec(f"{FILE.with_name('toy_proxy.py')}:Toy"))
    assert len(calls_of(trials, dict.fromkeys(trials, "cpu"), plain, 1)) == 4
    assert len(calls_of(named(4, most=1), dict.fromkeys(trials, "cpu"), proxy, 1)) == 4


@pytest.mark.parametrize("make", [InlineExecutor, lambda: LocalExecutor(2)])
def test_a_sweep_of_stacks_is_the_sweep_of_single_trials(tmp_path, make):
    found = []
    for proxy in ("synthetic", f"{FILE}:Planted"):
        setup = prepare(small_space(tmp_path, f"proxy.name={proxy}"))
        with Ledger.open(tmp_path / Path(proxy).name.replace(":", "-")) as ledger:
            run_sweep(setup, ledger, make, Silence())
            losses = {key: (run.status, str(run.loss)) for key, run in ledger.runs.items()}
            found.append((ledger.rounds, losses, ledger.hash(), ledger.spent_flops))
            stacked = {run.metrics.get("stack", 1) for run in ledger.runs.values()}
    alone, together = found
    assert alone == together
    assert max(stacked) > 1


def test_each_pays_for_its_own_flops_and_its_part_of_the_time(tmp_path):
    began = time.monotonic()
    ledger, runs = run_round(tmp_path, LocalExecutor(1), trials_of("learn", "sleep", "diverge"))
    took = time.monotonic() - began
    assert [run.status for run in runs] == [Status.DONE, Status.DONE, Status.DIVERGED]
    assert [run.spent_flops for run in runs] == [COST, COST, COST / 2]
    assert all(run.metrics["stack"] == 3 for run in runs)
    assert len({round(run.seconds, 2) for run in runs}) == 1
    assert 0.2 <= sum(run.seconds for run in runs) == pytest.approx(ledger.device_seconds)
    assert ledger.device_seconds < took
    assert "nan at 500 tokens" in runs[2].note


def test_an_exception_gives_the_stack_up_and_fails_only_the_trial_it_comes_from(tmp_path):
    ledger, runs = run_round(tmp_path, LocalExecutor(1), trials_of("learn", "fail", "learn"))
    assert [run.status for run in runs] == [Status.DONE, Status.FAILED, Status.DONE]
    assert [run.attempt for run in runs] == [2, 2, 2]
    assert "no such corpus" in runs[1].note
    assert set(ledger.losses) == {"its stack of 3 gave up: ValueError: no such corpus"}
    assert ledger.spent_flops == pytest.approx((0.5 + 0.4 + 0.4 + 1 + 0.4 + 1) * COST)


def test_a_death_takes_the_stack_along_and_is_blamed_on_who_dies_alone(tmp_path):
    trials = trials_of("learn", "kill", "learn")
    ledger, runs = run_round(tmp_path, LocalExecutor(1), trials)
    assert [run.status for run in runs] == [Status.DONE, Status.FAILED, Status.DONE]
    assert [run.attempt for run in runs] == [2, 4, 2]
    assert runs[1].note.startswith("it died 3 times")
    assert sum(ledger.losses.values()) == 3 + 3


def test_after_a_death_nobody_is_stacked_again(tmp_path):
    trials = trials_of("learn", "kill_once", "learn", mark=str(tmp_path / "mark"))
    _, runs = run_round(tmp_path, LocalExecutor(1), trials)
    assert [(run.status, run.attempt) for run in runs] == [(Status.DONE, 2)] * 3
    assert all("stack" not in run.metrics for run in runs)


def test_a_budget_takes_a_part_of_a_stack(tmp_path):
    with pytest.raises(BudgetError):
        run_round(tmp_path, LocalExecutor(1), trials_of(*["learn"] * 5), budget=3.5 * COST)
    ledger = Ledger.read(tmp_path / "study")
    assert [run.metrics["stack"] for run in ledger.runs.values()] == [3, 3, 3]
    assert ledger.spent_flops == 3 * COST


def test_a_stack_that_hangs_is_stopped_as_one_and_tried_one_by_one(tmp_path):
    executor = LocalExecutor(1)
    call = stack_of(tmp_path, "learn", "hang", "learn")
    executor.submit(call)
    while (event := executor.next_event()).tokens < 400:
        assert isinstance(event, Progress)
    executor.cancel(call.stack[0].key, "it hung")
    ends = []
    while len(ends) < 3:
        event = executor.next_event()
        ends += [] if isinstance(event, Progress) else [event]
    executor.cancel(call.key, "it hung")
    executor.close()
    assert all(isinstance(end, Died) and not end.counts for end in ends)
    told = {end.key: end.note for end in ends}
    assert told[call.stack[0].key] == "it hung"
    assert told[call.key] == "a trial in its stack was stopped: it hung"


@pytest.mark.parametrize("make", [InlineExecutor, lambda: LocalExecutor(1)])
def test_a_stack_that_is_asked_to_leave_leaves_whole(tmp_path, make):
    executor, mark = make(), tmp_path / "mark"
    executor.submit(stack_of(tmp_path, "learn", "wait", "learn", mark=str(mark)))
    executor.submit(stack_of(tmp_path, "learn", "learn", most=7))
    ends = []
    while not mark.exists():
        executor.next_event(0.01)
    executor.preempt()
    while len(ends) < 5:
        event = executor.next_event()
        ends += [] if isinstance(event, Progress) else [event]
    executor.close()
    assert all(isinstance(end, Died) and not end.counts for end in ends)
    assert sorted(end.tokens for end in ends) == [0, 0, 400, 500, 500]


@pytest.mark.parametrize(
    ("answer", "said"), [([], "returned 0 outcomes for 2"), ([None, None], "nothing had stopped")]
)
def test_an_answer_that_is_none_gives_the_stack_up(tmp_path, monkeypatch, answer, said):
    toys = load_proxy(TOYS)
    monkeypatch.setattr("planner.sweep.worker.load_proxy", lambda spec: toys)
    monkeypatch.setattr("planner.sweep.worker._proxy.cache_clear", None, raising=False)
    monkeypatch.setattr(toys, "train_many", lambda trials, contexts: answer)
    call = stack_of(tmp_path, "learn", "learn", own=said)
    call = replace(call, proxy=ProxySpec(TOYS.name, {"own": said}))
    ends = run_call(call, lambda _: None)
    assert all(isinstance(end, Died) and said in end.note and not end.counts for end in ends)


def test_the_pace_of_stacks_tells_that_of_single_trials(tmp_path):
    _, (run, *_) = run_round(tmp_path, LocalExecutor(1), trials_of("learn", "learn"))
    runs = [
        replace(
            run,
            tokens=tokens,
            trial=replace(run.trial, tokens=tokens),
            seconds=(8.0 + 2e-3 * tokens * stack) / stack,
            metrics={"stack": stack},
        )
        for tokens in (1000, 2000, 4000, 8000)
        for stack in (2, 4, 8)
    ]
    pace = Pace(runs)
    assert pace.expect(Work(60.0 * 3000, 3000, 300)) == pytest.approx(8 + 6, rel=0.01)
    assert pace.expect(Work(60.0 * 3000, 3000, 300, stack=4)) == pytest.approx(2 + 6, rel=0.01)


def test_a_stack_runs_up_the_hours_of_one_device():
    clock = [0.0]
    limits = Limits(Budget(flops=1e12, gpu_hours=1.0), clock=lambda: clock[0])
    works = [Work(1e3, 1e3, 10, stack=4)] * 4
    ledger, loads = SimpleNamespace(runs={}, spent_flops=0.0, device_seconds=0.0), []
    for work in works:
        loads.append(limits.commit(ledger, loads, work))
    clock[0] = 3590.0
    assert limits.patience(ledger, loads) > 0
    clock[0] = 3599.0
    with pytest.raises(BudgetError, match="device hours"):
        limits.patience(ledger, loads)
