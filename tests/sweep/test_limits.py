"""Budgets are never exceeded: committed before a trial starts, and looked at while it runs."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import pytest

from planner.errors import BudgetError, SpaceError
from planner.ledger import Ledger
from planner.means import Budget
from planner.run import Round, Run, Status, Trial
from planner.shape import Size
from planner.sweep.events import Died
from planner.sweep.inline import InlineExecutor
from planner.sweep.limits import GRACE_SECONDS, LOOK_SECONDS, Approval, Limits
from planner.sweep.loop import prepare, run_sweep
from planner.sweep.pace import Pace, Work
from tests.studies import Silence, small_space

SIZE = Size(1e4, 1e4, 1e4, 6e4)
TRIAL = Trial("ladder", {"width": 16}, 1_000_000, 1000, 0.01, 0)
WORK = Work.of(TRIAL, SIZE)
STEP = Round(7, "ladder", (TRIAL,), "every size to its longest horizon")


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def ended(key: str, seconds: float, **values) -> Run:
    facts = {"loss": 2.0, "loss_se": 0.01, "size": SIZE, "tokens": TRIAL.tokens}
    return Run(TRIAL, key, Status.DONE, spent_flops=WORK.flops, seconds=seconds, **facts | values)


@pytest.fixture
def ledger(tmp_path):
    """A study in which one trial took 100 seconds."""
    with Ledger.open(tmp_path / "study") as opened:
        opened.started("a", 1, "here", TRIAL, SIZE)
        opened.ended(ended("a", 100.0))
        yield opened


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["budget.gpu_hours=1e-9"], "device hours"),
        (["budget.wall=1e-9"], r"budget\.wall"),
        (["budget.usd=1e-9", "budget.price=2"], "have cost or claimed"),
    ],
)
def test_a_clock_stops_the_sweep_and_what_ended_is_kept(tmp_path, overrides, says):
    setup = prepare(small_space(tmp_path, *overrides))
    with Ledger.open(tmp_path / "study") as ledger:
        with pytest.raises(BudgetError, match=says):
            run_sweep(setup, ledger, InlineExecutor, Silence())
        assert all(run.done for run in ledger.runs.values())


def test_a_price_is_needed_and_named():
    with pytest.raises(SpaceError, match=r"budget\.price \(or target\.price\)"):
        Limits(Budget(flops=1e15, usd=5))
    with pytest.raises(SpaceError, match="--approve-above needs a price"):
        Limits(Budget(flops=1e15), None, Approval(5.0))


def test_the_time_of_the_next_trial_is_committed_before_it_starts(ledger):
    hour, clock = 3600.0, Clock()
    promised = 110.0  # 100 s and the least margin
    enough = Limits(Budget(flops=1e15, gpu_hours=(100 + promised + 1) / hour), clock=clock)
    load = enough.commit(ledger, [], WORK)
    with pytest.raises(BudgetError, match=r"used or claimed 0.0583 of .* device hours"):
        enough.commit(ledger, [load], WORK)
    scarce = Limits(Budget(flops=1e15, gpu_hours=(100 + promised - 1) / hour), clock=clock)
    with pytest.raises(BudgetError, match=r"budget\.gpu_hours: what has ended is kept"):
        scarce.commit(ledger, [], WORK)


def test_a_trial_that_cannot_end_before_the_wall_does_not_start(ledger):
    clock = Clock()
    limits = Limits(Budget(flops=1e15, wall=300), clock=clock)
    limits.commit(ledger, [], WORK)
    clock.now += 200
    with pytest.raises(BudgetError, match=r"has run for 3.33 min of 5 min"):
        limits.commit(ledger, [], WORK)


def test_a_broken_promise_is_stopped_before_the_limit(ledger):
    clock = Clock()
    limits = Limits(Budget(flops=1e15, usd=1.5), 18.0, clock=clock)
    load = limits.commit(ledger, [], WORK)  # $1.5 are 300 s, of which 100 are spent
    assert limits.patience(ledger, [load]) == LOOK_SECONDS
    clock.now += 195
    assert limits.patience(ledger, [load]) == pytest.approx(300 - 295 - GRACE_SECONDS)
    clock.now += 3.5
    with pytest.raises(BudgetError, match=r"budget\.usd"):
        limits.patience(ledger, [load])


def test_two_devices_count_twice(ledger):
    limits = Limits(Budget(flops=1e15, gpu_hours=300 / 3600), clock=Clock())
    with pytest.raises(BudgetError, match="device hours"):
        limits.commit(ledger, [], Work(WORK.flops, WORK.tokens, WORK.steps, devices=2))


class Hanging:
    """An executor whose trials only end when they are told to."""

    workers = 2

    def __init__(self, clock: Clock) -> None:
        self._clock, self.running, self._told = clock, {}, []

    def submit(self, job):
        self.running[job.key] = job.attempt

    def next_event(self, timeout=None):
        if self._told:
            return self._told.pop()
        self._clock.now += timeout
        return None

    def preempt(self):
        self._told = [Died(*one, "asked to leave", counts=False) for one in self.running.items()]

    def close(self):
        self.running.clear()


def test_trials_that_run_are_stopped_and_paid_for_when_the_clock_runs_out(tmp_path, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    monkeypatch.setattr(Limits.__init__, "__defaults__", (None, None, clock))
    setup = prepare(small_space(tmp_path, "budget.gpu_hours=0.01"))
    with Ledger.open(tmp_path / "study") as ledger:
        with pytest.raises(BudgetError, match="device hours"):
            run_sweep(setup, ledger, lambda: Hanging(clock), Silence())
        assert not ledger.runs
        assert 30 < ledger.device_seconds <= 36
        assert ledger.running == 0


def test_what_runs_may_end_when_the_next_does_not_fit(tmp_path):
    setup = prepare(small_space(tmp_path))
    cost = setup.layout.anchor.size.flops(300 * 128)
    tight = setup.space.model_copy(
        update={"budget": setup.space.budget.model_copy(update={"flops": 2.5 * cost})}
    )
    setup = type(setup)(tight, setup.spec, setup.proxy, setup.recipe, setup.layout)

    class Two(InlineExecutor):
        workers = 3

    with Ledger.open(tmp_path / "study") as ledger:
        with pytest.raises(BudgetError, match=r"budget\.flops"):
            run_sweep(setup, ledger, Two, Silence())
        assert len(ledger.runs) == 2


def gate(above: float, ask=None) -> Limits:
    return Limits(Budget(flops=1e15), 36.0, Approval(above, ask), clock=Clock())


def test_a_dear_round_waits_for_approval(ledger):
    works = [WORK] * 5  # 5 x 100 s at $36 an hour
    assert gate(5.01).approve(STEP, ledger, works)
    with pytest.raises(BudgetError, match=r"--approve-above 5$") as stopped:
        gate(4.9).approve(STEP, ledger, works)
    assert "round 7 (ladder: every size to its longest horizon)" in str(stopped.value)
    assert stopped.value.exit_code == 4
    asked = []
    assert gate(4.9, lambda told: not asked.append(told)).approve(STEP, ledger, works)
    assert asked == [
        "round 7 (ladder: every size to its longest horizon) is expected to cost $5: 5 trials, "
        "0.139 device hours"
    ]
    with pytest.raises(BudgetError, match="was not approved"):
        gate(4.9, lambda told: False).approve(STEP, ledger, works)


def test_the_option_it_names_lets_the_round_pass(ledger):
    works = [WORK, Work(1.7 * WORK.flops, WORK.tokens, WORK.steps)]
    with pytest.raises(BudgetError) as stopped:
        gate(0.5).approve(STEP, ledger, works)
    assert gate(float(str(stopped.value).split()[-1])).approve(STEP, ledger, works)


def test_before_anything_has_ended_the_smallest_trial_runs_alone(tmp_path):
    setup = prepare(small_space(tmp_path, "budget.price=1e9", "stages.finder=off"))
    with Ledger.open(tmp_path / "study") as ledger:
        with pytest.raises(BudgetError, match="approve-above"):
            run_sweep(setup, ledger, InlineExecutor, Silence(), Approval(0.001))
        assert len(ledger.runs) == 1
        assert len(ledger.rounds) == 1, "the decided round stays stored"


def test_the_pace_of_sizes_batches_and_starting_up_is_told_apart():
    pace, truth = Pace(), (2e-10, 1.5, 3e-6, 2e-3)
    for n, params in enumerate([1e4, 3e4, 1e5, 3e5] * 4):
        size = Size(params, params, params, 6 * params)
        tokens, batch = 200_000 * (1 + n % 3), 500 * 2 ** (n % 4)
        trial = Trial("ladder", {}, tokens, batch, 0.01, 0)
        work = Work.of(trial, size)
        seconds = float(work.terms @ truth)
        if n > 8:
            assert pace.expect(work) == pytest.approx(seconds, rel=0.05)
            assert pace.promise(work) >= seconds
        pace.learn(Run(trial, str(n), Status.DONE, 2.0, 0.01, size, tokens, work.flops, seconds))


def test_compiled_trials_have_a_pace_of_their_own():
    compiled = replace(WORK, compiled=True)
    pace = Pace([ended("a", 100.0)])
    assert pace.expect(compiled) == pace.expect(WORK), "until one has ended they are like the rest"
    pace.learn(ended("b", 40.0, metrics={"compiled": 1.0}))
    assert pace.expect(compiled) == pytest.approx(40)
    assert pace.expect(WORK) == pytest.approx(100)
    alone = Pace([ended("b", 40.0, metrics={"compiled": 1.0})])
    assert alone.known
    assert alone.promise(WORK) > 40


def test_failures_and_resumed_tokens_do_not_spoil_the_pace():
    pace = Pace([ended("a", 100.0)])
    pace.learn(replace(ended("b", 1.0), status=Status.FAILED))
    pace.learn(ended("c", 50.0, metrics={"resumed_tokens": 500_000.0}))
    assert pace.expect(WORK) == pytest.approx(100)
    assert not Pace().known
    assert Pace().promise(WORK) == 0
    assert math.isfinite(pace.promise(WORK))
