"""The sweep: run the open round, ask for the next, until every stage is satisfied.

    while step := next round: ledger += executor.run(step)

The loop owns what must not steer the policy: attempts, retries, budgets, clocks. Killed at any
moment, the same call goes on from the ledger and ends at the same plan (contracts.md section 2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from planner.errors import LedgerError, TooManyFailuresError
from planner.fit.held_out import Prediction
from planner.ledger import Ledger
from planner.proxy import Outcome, Proxy, ProxySpec, load_proxy
from planner.run import Round, Run, Status, Trial
from planner.space import ExecutorChoice, SearchSpace
from planner.sweep.events import Died, Ended, Event, Executor, Job, Progress, Resources
from planner.sweep.layout import Layout, lay_out
from planner.sweep.limits import Limits
from planner.sweep.policy import POLICY_VERSION, next_round, wants_prediction
from planner.sweep.resources import resources_of
from planner.sweep.stages import held_out
from planner.sweep.state import StudyState
from planner.sweep.watch import Watch

MAX_ATTEMPTS = 3
"""Attempts at a trial whose worker dies before it counts as failed; a dead driver costs none."""

LOOK_SECONDS = 5.0
"""How long the driver waits at most for an event before it looks at clocks."""


@dataclass(frozen=True)
class Bench:
    """What a round is run on: the proxy, what identifies it, and the name of the executor."""

    spec: ProxySpec
    proxy: Proxy
    recipe: Mapping[str, Any]
    host: str
    executor: ExecutorChoice = field(default_factory=ExecutorChoice)

    def resources(self, trial: Trial) -> Resources:
        """Return what an attempt at a trial occupies."""
        return resources_of(self.executor, self.proxy, trial)


@dataclass(frozen=True)
class Setup:
    """What a search space becomes before the first trial: pure, and the same on every resume."""

    space: SearchSpace
    spec: ProxySpec
    proxy: Proxy
    recipe: Mapping[str, Any]
    layout: Layout

    @property
    def bench(self) -> Bench:
        """What its rounds are run on."""
        choice = self.space.executor
        return Bench(self.spec, self.proxy, self.recipe, choice.name, choice)


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

    Raises BudgetError when the next trial does not fit the budget, TooManyFailuresError when more
    than half of a round failed; what has ended is safe in the ledger in every case.
    """
    executor: Executor | None = None
    limits = Limits(setup.space.budget, setup.space.target.get("price"))
    try:
        while True:
            state = state_of(setup, ledger)
            step = _open_round(state) or next_round(state)
            if step is None and wants_prediction(state):
                ledger.predicted(held_out.predict(state, ledger.hash()).to_json())
                continue
            if step is None:
                return state
            if step.number > len(state.rounds):
                ledger.decided(step, POLICY_VERSION)
            executor = executor or make_executor()
            RoundRunner(setup.bench, ledger, executor, watch, limits).run(step)
    finally:
        if executor is not None:
            executor.close()


def _open_round(state: StudyState) -> Round | None:
    """Return the last decided round if some of its trials have not ended."""
    if not state.rounds:
        return None
    last = state.rounds[-1]
    return last if any(state.key(trial) not in state.runs for trial in last.trials) else None


class RoundRunner:
    """Runs the trials of one round that have not ended yet, longest first."""

    def __init__(
        self, bench: Bench, ledger: Ledger, executor: Executor, watch: Watch, limits: Limits
    ) -> None:
        self._bench, self._ledger, self._executor, self._watch = bench, ledger, executor, watch
        self._limits = limits
        self._trials: dict[str, Trial] = {}
        self._running: dict[str, float] = {}
        self._deaths: dict[str, int] = {}

    def run(self, step: Round) -> None:
        """Run the round to its end."""
        self._trials = {
            key: trial
            for trial in step.trials
            if (key := trial.key(self._bench.recipe)) not in self._ledger.runs
        }
        queue = sorted(self._trials, key=lambda key: (-self._cost(self._trials[key]), key))
        self._watch.round_begins(step, len(queue), self._ledger.spent_flops)
        while queue or self._running:
            while queue and len(self._running) < self._executor.workers:
                self._submit(queue.pop(0))
            if event := self._executor.next_event(LOOK_SECONDS):
                queue[:0] = self._handle(event)
        self._refuse_failures(step)

    def _cost(self, trial: Trial) -> float:
        return self._bench.proxy.size(trial.shape).flops(trial.new_tokens)

    def _submit(self, key: str) -> None:
        trial, size = self._trials[key], self._bench.proxy.size(self._trials[key].shape)
        cost = size.flops(trial.new_tokens)
        self._limits.guard(self._ledger, sum(self._running.values()), cost)
        attempt = self._ledger.attempts(key) + 1
        self._ledger.started(key, attempt, self._bench.host, trial, size)
        parent = None if trial.parent is None else str(self._ledger.checkpoint_dir(trial.parent))
        folder = str(self._ledger.checkpoint_dir(key))
        self._running[key] = cost
        needs = self._bench.resources(trial)
        job = Job(key, trial, attempt, self._bench.spec, folder, parent, resources=needs)
        self._executor.submit(job)

    def _handle(self, event: Event) -> list[str]:
        """Take one event; return the keys that must be tried again."""
        trial = self._trials[event.key]
        if isinstance(event, Progress):
            self._ledger.progress(event.key, event.attempt, event.tokens)
            self._watch.progress(event, trial)
            return []
        del self._running[event.key]
        if isinstance(event, Died):
            self._ledger.lost(event.key, event.attempt, event.note)
            self._watch.died(event, trial)
            self._deaths[event.key] = self._deaths.get(event.key, 0) + 1
            if self._deaths[event.key] < MAX_ATTEMPTS:
                return [event.key]
        self._record(trial, event)
        return []

    def _record(self, trial: Trial, event: Ended | Died) -> None:
        run = self._run_of(trial, event)
        if run.status is Status.FAILED:
            self._refuse_full_disk(event)
        if isinstance(event, Ended) and event.curve:
            self._ledger.save_curve(run.key, event.curve)
        self._ledger.ended(run)
        self._watch.ended(run, self._ledger.spent_flops)

    def _refuse_full_disk(self, event: Ended | Died) -> None:
        """Stop instead of recording a failure that is the disk's; the trial is tried again."""
        if self._ledger.has_room():
            return
        if isinstance(event, Ended):
            self._ledger.lost(event.key, event.attempt, "the disk was full")
        raise LedgerError(
            f"the disk of {self._ledger.folder} is full, and a trial failed for it; nothing "
            "recorded is lost: make room, then run the same line again"
        )

    def _run_of(self, trial: Trial, event: Ended | Died) -> Run:
        """Record what an attempt came to; a worker's last death leaves no tokens and no loss."""
        size, seconds, device = self._bench.proxy.size(trial.shape), 0.0, ""
        if isinstance(event, Died):
            note = f"its worker died {self._deaths[event.key]} times: {event.note}"
            outcome = Outcome(Status.FAILED, math.nan, math.nan, 0, note)
        else:
            outcome, seconds, device = event.outcome, event.seconds, event.device
        paid_from = max(trial.fork_at, int(outcome.metrics.get("resumed_tokens", 0)))
        besides = outcome.metrics.get("measured_tokens", 0)  # passes that trained nothing
        return Run(
            trial=trial,
            key=event.key,
            status=outcome.status,
            loss=outcome.loss,
            loss_se=outcome.loss_se,
            size=size,
            tokens=outcome.tokens,
            spent_flops=size.flops(max(0, outcome.tokens - paid_from) + besides),
            seconds=seconds,
            device=device,
            note=outcome.note,
            attempt=event.attempt,
            metrics=outcome.metrics,
        )

    def _refuse_failures(self, step: Round) -> None:
        runs = [self._ledger.runs[trial.key(self._bench.recipe)] for trial in step.trials]
        failed = [run for run in runs if run.status is Status.FAILED]
        if 2 * len(failed) > len(runs):
            raise TooManyFailuresError(
                f"{len(failed)} of {len(runs)} trials of round {step.number} ({step.stage}) "
                f"failed; the first says: {failed[0].note.strip().splitlines()[-1][:300]}"
            )
