"""The sweep: run the open round, ask for the next, until every stage is satisfied.

    while step := next round: ledger += executor.run(step)

The loop owns what must not steer the policy: attempts, retries, budgets, clocks. Killed at any
moment, the same call goes on from the ledger and ends at the same plan (contracts.md section 2).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from errno import ENOSPC
from pathlib import Path
from typing import Any

from planner.errors import LedgerError
from planner.fit.held_out import Prediction
from planner.ledger import Ledger
from planner.proxy import Proxy, ProxySpec, load_proxy
from planner.run import Round, Status, Trial
from planner.shape import Size
from planner.space import ExecutorChoice, SearchSpace
from planner.sweep.checkpoints import Checkpoints, needed_states
from planner.sweep.events import Died, Ended, Event, Executor, Job, Progress
from planner.sweep.layout import Layout, lay_out
from planner.sweep.limits import Limits
from planner.sweep.policy import POLICY_VERSION, next_round, wants_prediction
from planner.sweep.record import refuse_failures, run_of
from planner.sweep.resources import resources_of
from planner.sweep.stages import held_out
from planner.sweep.state import StudyState
from planner.sweep.stop import LEAVE_SECONDS, StopWish
from planner.sweep.timeouts import Vigil
from planner.sweep.watch import Watch

MAX_DEATHS = 3
"""Deaths on end that bring a trial no further, before it counts as failed."""

LOOK_SECONDS = 1.0
"""How long the driver waits at most for an event before it looks at clocks and signals."""


@dataclass(frozen=True)
class Bench:
    """What a round is run on: the proxy, what identifies it, and the name of the executor."""

    spec: ProxySpec
    proxy: Proxy
    recipe: Mapping[str, Any]
    host: str
    checkpoints: Checkpoints = field(default_factory=lambda: Checkpoints(Path(), managed=False))
    vigil: Vigil = field(default_factory=Vigil)
    asked: ExecutorChoice = field(default_factory=ExecutorChoice)


@dataclass(frozen=True)
class Setup:
    """What a search space becomes before the first trial: pure, and the same on every resume."""

    space: SearchSpace
    spec: ProxySpec
    proxy: Proxy
    recipe: Mapping[str, Any]
    layout: Layout

    def bench(self, folder: Path) -> Bench:
        """Return what its rounds are run on, for a study in ``folder``."""
        url = self.space.checkpoints and f"{self.space.checkpoints}/{self.space.study}"
        managed = bool(self.proxy.capabilities & {"resume", "fork"})
        minutes = self.space.executor.hang_minutes
        return Bench(
            self.spec,
            self.proxy,
            self.recipe,
            self.space.executor.name,
            Checkpoints(folder / "checkpoints", url, managed=managed),
            Vigil(None if minutes is None else 60 * minutes),
            self.space.executor,
        )


def prepare(space: SearchSpace) -> Setup:
    """Lay the budget out and prepare the proxy's data.

    Raises BudgetError, SpaceError or DataError with what would be right.
    """
    spec = ProxySpec(space.proxy.name, dict(space.data), dict(space.proxy.options))
    layout = lay_out(space, load_proxy(spec))
    data = dict(space.data) | {"tokens_needed": layout.tokens_needed}
    spec = ProxySpec(space.proxy.name, data, dict(space.proxy.options))
    proxy = load_proxy(spec)
    recipe = {"proxy": space.proxy.name, **proxy.recipe()}
    return Setup(space, spec, proxy, recipe, layout)


def state_of(setup: Setup, ledger: Ledger) -> StudyState:
    """Read the ledger as the policy sees it."""
    return StudyState(
        setup.space,
        setup.proxy,
        setup.recipe,
        setup.layout,
        ledger.rounds,
        ledger.runs,
        None if ledger.prediction is None else Prediction.from_json(ledger.prediction),
    )


def run_sweep(
    setup: Setup, ledger: Ledger, make_executor: Callable[[], Executor], watch: Watch
) -> StudyState:
    """Run rounds until every stage is satisfied, and return the final state.

    Raises BudgetError when the next trial does not fit, TooManyFailuresError when most of a round
    failed, KeyboardInterrupt when asked to stop; what has ended is in the ledger in every case.
    """
    executor: Executor | None = None
    bench = setup.bench(ledger.folder)
    for run in ledger.runs.values():
        bench.vigil.learn(run)
    limits = Limits(setup.space.budget, setup.space.target.get("price"))
    try:
        while True:
            state = state_of(setup, ledger)
            step = _open_round(state) or next_round(state)
            if step is None and wants_prediction(state):
                ledger.predicted(held_out.predict(state, ledger.hash()).to_json())
                continue
            if step is None:
                bench.checkpoints.keep_only(())
                return state
            if step.number > len(state.rounds):
                ledger.decided(step, POLICY_VERSION)
            keys = [state.key(trial) for trial in step.trials]
            bench.checkpoints.keep_only(needed_states(ledger, step, keys))
            if executor is None:
                bench.checkpoints.probe()
                executor = make_executor()
            RoundRunner(bench, ledger, executor, watch, limits).run(step)
    finally:
        if executor is not None:
            executor.close()


def _open_round(state: StudyState) -> Round | None:
    """Return the last decided round if some of its trials have not ended."""
    if not state.rounds:
        return None
    last = state.rounds[-1]
    return last if any(state.key(trial) not in state.runs for trial in last.trials) else None


@dataclass(frozen=True, slots=True)
class _Attempt:
    """The newest attempt at a running trial, and the FLOPs it may take."""

    number: int
    cost: float


class RoundRunner:
    """Runs the trials of one round that have not ended yet, longest first."""

    def __init__(
        self, bench: Bench, ledger: Ledger, executor: Executor, watch: Watch, limits: Limits
    ) -> None:
        self._bench, self._ledger, self._executor, self._watch = bench, ledger, executor, watch
        self._limits = limits
        self._trials: dict[str, Trial] = {}
        self._running: dict[str, _Attempt] = {}
        self._stop = StopWish()

    def run(self, step: Round) -> None:
        """Run the round to its end. Raises KeyboardInterrupt once all have left who could."""
        self._trials = {
            key: trial
            for trial in step.trials
            if (key := trial.key(self._bench.recipe)) not in self._ledger.runs
        }
        queue = sorted(self._trials, key=lambda key: (-self._cost(self._trials[key]), key))
        self._watch.round_begins(step, len(queue), self._ledger.spent_flops)
        with self._stop:
            while (queue or self._running) and not self._stop.asked:
                while queue and len(self._running) < self._executor.workers:
                    self._begin(queue.pop(0))
                queue[:0] = self._look(LOOK_SECONDS)
                for key, note in self._bench.vigil.hanging().items():
                    self._executor.cancel(key, note)
            if self._stop.asked:
                self._leave()
                raise KeyboardInterrupt
        keys = [trial.key(self._bench.recipe) for trial in step.trials]
        refuse_failures(step, [self._ledger.runs[key] for key in keys])

    def _leave(self) -> None:
        """Let the running trials save their states and go; those that do not are lost as killed."""
        self._executor.preempt()
        until = time.monotonic() + LEAVE_SECONDS
        while self._running and (left := until - time.monotonic()) > 0:
            self._look(min(left, LOOK_SECONDS))
        for key, attempt in self._running.items():
            note = f"asked to leave, and still there after {LEAVE_SECONDS:g} s"
            self._ledger.lost(key, attempt.number, note, counts=False)

    def _size(self, trial: Trial) -> Size:
        return self._bench.proxy.size(trial.shape)

    def _cost(self, trial: Trial) -> float:
        return self._size(trial).flops(trial.new_tokens)

    def _begin(self, key: str) -> None:
        """Start an attempt, or give the trial up if it has died too often."""
        if key in self._ledger.runs:  # a zombie brought its result meanwhile
            return
        deaths, note = self._ledger.deaths(key)
        if deaths >= MAX_DEATHS:
            last = self._ledger.attempts(key)
            self._record(Died(key, last, f"it died {deaths} times and came no further: {note}"))
            return
        trial = self._trials[key]
        size, cost = self._size(trial), self._cost(trial)
        running = sum(attempt.cost for attempt in self._running.values())
        self._limits.guard(self._ledger, running, cost)
        number = self._ledger.attempts(key) + 1
        self._ledger.started(key, number, self._bench.host, trial, size)
        self._running[key] = _Attempt(number, cost)
        self._bench.vigil.begins(key, size.flops_per_token, cost)
        states, parent = self._bench.checkpoints, trial.parent
        job = Job(
            key,
            trial,
            number,
            self._bench.spec,
            checkpoint_dir=states.place(key),
            parent_dir=states.place(parent) if parent else None,
            remote_dir=states.remote(key),
            remote_parent=states.remote(parent),
            resources=resources_of(self._bench.asked, self._bench.proxy, trial),
        )
        self._executor.submit(job)

    def _look(self, seconds: float) -> list[str]:
        """Wait for one event, if any is to come, and take it in; return what to try again."""
        event = self._executor.next_event(seconds) if self._running else None
        if event is None:
            return []
        running = self._running.get(event.key)
        if running is None or running.number != event.attempt:
            self._take_zombie(event)
            return []
        return self._take(event)

    def _take(self, event: Event) -> list[str]:
        """Take an event of an attempt under way; return the keys that must be tried again."""
        key, vigil = event.key, self._bench.vigil
        if isinstance(event, Progress):
            vigil.hears(key, resumed=event.resumed)
            self._ledger.progress(key, event.attempt, event.tokens, resumed=event.resumed)
            self._watch.progress(event, self._trials[key])
            return []
        del self._running[key]
        vigil.ends(key, well=isinstance(event, Ended))
        if isinstance(event, Ended) and self._stop.asked and event.outcome.status is Status.FAILED:
            event = Died(key, event.attempt, f"asked to stop: {event.outcome.note}", counts=False)
        if isinstance(event, Died):
            self._ledger.lost(key, event.attempt, event.note, event.tokens, counts=event.counts)
            self._watch.died(event, self._trials[key])
            return [key]
        self._record(event)
        return []

    def _take_zombie(self, event: Event) -> None:
        """Pay for what an attempt did that was given up; it counts while no newer one started."""
        if isinstance(event, Ended):
            trial = self._trials.get(event.key) or self._ledger.runs[event.key].trial
            self._ledger.ended(run_of(trial, self._size(trial), event))

    def _record(self, event: Ended | Died) -> None:
        trial = self._trials[event.key]
        run = run_of(trial, self._size(trial), event)
        if run.status is Status.FAILED:
            self._refuse_full_disk(event)
        if isinstance(event, Ended) and event.curve:
            self._ledger.save_curve(run.key, event.curve)
        self._ledger.ended(run)
        self._bench.vigil.learn(run)
        if not (run.done and run.trial.keep_at):
            self._bench.checkpoints.release(run.key)
        self._watch.ended(run, self._ledger.spent_flops)

    def _refuse_full_disk(self, event: Ended | Died) -> None:
        """Stop instead of recording a failure that is the disk's; the trial is tried again."""
        said = event.outcome.note if isinstance(event, Ended) else event.note
        if self._ledger.has_room() and os.strerror(ENOSPC) not in said:
            return
        if isinstance(event, Ended):
            self._ledger.lost(event.key, event.attempt, "the disk was full", counts=False)
        raise LedgerError(
            f"the disk of {self._ledger.folder} is full, and a trial failed for it; nothing "
            "recorded is lost: make room, then run the same line again"
        )
