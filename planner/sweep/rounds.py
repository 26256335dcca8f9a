"""One round: attempts, retries, budgets, clocks, signals; all that must not steer the policy.

An attempt carries a number. Events of any but the newest are a zombie's: its result is paid for and
counts only while no newer attempt has started; all else it says is not heard.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from errno import ENOSPC
from pathlib import Path
from typing import Any, cast

from planner._spend import Held
from planner.errors import BudgetError, LedgerError
from planner.ledger import Ledger
from planner.means import ExecutorChoice
from planner.proxy import CompilingProxy, Proxy, ProxySpec
from planner.run import Round, Status, Trial
from planner.shape import Size
from planner.sweep.alike import Decided
from planner.sweep.checkpoints import Checkpoints
from planner.sweep.events import (
    ChoosyExecutor,
    Died,
    Ended,
    Event,
    Executor,
    Job,
    Progress,
    Resources,
)
from planner.sweep.limits import GRACE_SECONDS, Limits, Load
from planner.sweep.pace import Work
from planner.sweep.record import refuse_divergence, refuse_failures, run_of
from planner.sweep.resources import resources_of
from planner.sweep.stacks import TAKE_STACKS, calls_of
from planner.sweep.stop import LEAVE_SECONDS, StopWish
from planner.sweep.timeouts import Vigil
from planner.sweep.watch import Watch

MAX_DEATHS = 3
"""Deaths on end that bring a trial no further, before it counts as failed."""

LOOK_SECONDS = 1.0
"""How long the driver waits at most for an event before it looks for signals and hanging trials."""


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
    decided: Decided = field(default_factory=Decided)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """The newest attempt at a running trial, what it was allowed, and the key of its call."""

    number: int
    load: Load
    call: str


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
        if isinstance(self._executor, ChoosyExecutor):
            for need in {self._needs(trial) for trial in self._trials.values()}:
                self._executor.refuse(need)
        self._bench.decided.follow(self._ledger.rounds)
        queue = self._queue()
        self._watch.round_begins(step, len(self._trials), self._ledger.spent_flops)
        approved = False
        with self._stop:
            while (queue or self._running) and not self._stop.asked:
                approved = approved or self._approve(step, queue)
                self._fill(queue, self._executor.workers if approved else 1)
                queue[:0] = [[key] for key in self._look(self._patience())]
                for key, note in self._bench.vigil.hanging().items():
                    self._executor.cancel(key, note)
            if self._stop.asked:
                self._leave(LEAVE_SECONDS, "asked to stop")
                raise KeyboardInterrupt
        keys = [trial.key(self._bench.recipe) for trial in step.trials]
        refuse_failures(step, [self._ledger.runs[key] for key in keys])
        refuse_divergence(step, self._ledger.runs.values())

    @property
    def _loads(self) -> list[Load]:
        return [attempt.load for attempt in self._running.values()]

    def _size(self, trial: Trial) -> Size:
        return self._bench.proxy.size(trial.shape)

    def _queue(self) -> list[list[str]]:
        """Return the calls of the round, longest first; what was tried before is tried alone."""
        devices = {
            key: need.device
            for key, trial in self._trials.items()
            if self._ledger.attempts(key) == 0 and (need := self._needs(trial)).nodes == 1
        }
        stackable = devices if self._bench.host in TAKE_STACKS else {}
        calls = calls_of(self._trials, stackable, self._bench.proxy, self._executor.workers)
        return sorted(calls, key=self._length)

    def _length(self, call: list[str]) -> tuple[float, float, list[str]]:
        """Sort by the time a call is expected to take; by its FLOPs where nothing has ended."""
        works = [self._work(key, len(call)) for key in call]
        seconds = sum(self._limits.expect(self._ledger, work) for work in works)
        return -seconds, -sum(work.flops for work in works), call

    def _work(self, key: str, stack: int = 1) -> Work:
        trial = self._trials[key]
        needs = self._needs(trial)
        work = Work.of(trial, self._size(trial), needs.devices, stack)
        if "compiles" not in self._bench.proxy.capabilities:
            return work
        proxy = cast(CompilingProxy, self._bench.proxy)
        alike = dict(self._bench.decided.alike(trial.shape))
        return replace(work, compiled=proxy.compiles(trial, needs.device, alike))

    def _needs(self, trial: Trial) -> Resources:
        return resources_of(self._bench.asked, self._bench.proxy, trial)

    def _approve(self, step: Round, queue: list[list[str]]) -> bool:
        """Say whether the round may run; the smallest call goes first where nobody knows yet."""
        left = [load.work for load in self._loads]
        left += [self._work(key, len(call)) for call in queue for key in call]
        self._stop.at_once = not self._running
        approved = self._limits.approve(step, self._ledger, left)
        self._stop.at_once = False
        if not approved and not self._running:
            queue.insert(0, queue.pop())
        return approved

    def _fill(self, queue: list[list[str]], slots: int) -> None:
        """Start what the slots and the budget take; what runs already is paid for and may end."""
        try:
            while queue and len({attempt.call for attempt in self._running.values()}) < slots:
                self._begin(queue[0])
                queue.pop(0)
        except BudgetError:
            if not self._running:
                raise

    def _patience(self) -> float:
        """Return how long to wait for an event; a clock that has run out stops what runs."""
        try:
            return min(LOOK_SECONDS, self._limits.patience(self._ledger, self._loads))
        except BudgetError as error:
            self._leave(GRACE_SECONDS, str(error))
            raise

    def _leave(self, seconds: float, why: str) -> None:
        """Let the running trials save their states and go; those still there are lost as killed."""
        self._executor.preempt()
        until = time.monotonic() + seconds
        while self._running and (left := until - time.monotonic()) > 0:
            self._look(min(left, LOOK_SECONDS), leaving=True)
        for key, attempt in self._running.items():
            self._ledger.lost(key, attempt.number, f"{why}; it did not leave in time", counts=False)

    def _begin(self, call: list[str]) -> None:
        """Start the trials of a call; those the budget does not take stay in it."""
        jobs: list[Job] = []
        lead, stack = call[0], len(call)
        try:
            while call:
                job = self._attempt(call[0], lead, stack)
                jobs += [job] if job else []
                call.pop(0)
        finally:
            if jobs:
                self._executor.submit(replace(jobs[0], stack=tuple(jobs[1:])))

    def _attempt(self, key: str, lead: str, stack: int) -> Job | None:
        """Return an attempt at a trial; None where it is given up, having died too often."""
        if key in self._ledger.runs:  # a zombie brought its result meanwhile
            return None
        deaths, note = self._ledger.deaths(key)
        if deaths >= MAX_DEATHS:
            last = self._ledger.attempts(key)
            self._record(Died(key, last, f"it died {deaths} times and came no further: {note}"))
            return None
        trial, size = self._trials[key], self._size(self._trials[key])
        load = self._limits.commit(self._ledger, self._loads, self._work(key, stack))
        number = self._ledger.attempts(key) + 1
        needs, host = self._needs(trial), self._bench.host
        self._ledger.started(key, number, host, trial, size, Held(needs.devices, stack))
        self._running[key] = _Attempt(number, load, lead)
        self._bench.vigil.begins(key, size.flops_per_token, load.work.flops)
        states, parent = self._bench.checkpoints, trial.parent
        return Job(
            key,
            trial,
            number,
            self._bench.spec,
            checkpoint_dir=states.place(key),
            parent_dir=states.place(parent) if parent else None,
            remote_dir=states.remote(key),
            remote_parent=states.remote(parent),
            device=needs.device,
            resources=needs,
            alike=self._bench.decided.alike(trial.shape),
        )

    def _look(self, seconds: float, *, leaving: bool = False) -> list[str]:
        """Wait for one event, if any is to come, and take it in; return what to try again."""
        event = self._executor.next_event(seconds) if self._running else None
        if event is None:
            return []
        running = self._running.get(event.key)
        if running is None or running.number != event.attempt:
            self._take_zombie(event)
            return []
        return self._take(event, leaving=leaving)

    def _take(self, event: Event, *, leaving: bool) -> list[str]:
        """Take an event of an attempt under way; return the keys that must be tried again."""
        key, vigil = event.key, self._bench.vigil
        if isinstance(event, Progress):
            vigil.hears(key, resumed=event.resumed)
            self._ledger.progress(key, event.attempt, event.tokens, resumed=event.resumed)
            self._watch.progress(event, self._trials[key])
            return []
        del self._running[key]
        vigil.ends(key, well=isinstance(event, Ended))
        leaving |= self._stop.asked
        if leaving and isinstance(event, Ended) and event.outcome.status is Status.FAILED:
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
