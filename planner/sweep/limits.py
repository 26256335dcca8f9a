"""What may stop a sweep: FLOPs always; device hours, dollars and wall time where they are stated.

Before a trial starts, what it is expected to take is committed beside everything spent or running:

    FLOPs     spent + running + next                                                <= budget.flops
    hours     lost and ended + sum of max(elapsed, promised) running + promised     <= gpu_hours
    dollars   hours * price                                                         <= usd
    wall      elapsed + promised next                                               <= wall

A round that is expected to cost more than an :class:`Approval` lets pass is asked about before any
of its trials starts.

FLOPs are exact, so the sum over all attempts never exceeds them. The others are clocks: promises
come from the pace of the runs that have ended (:mod:`planner.sweep.pace`); where one is broken, or
nothing has ended yet, the clock is looked at while trials run and stops them GRACE_SECONDS early.
Clocks stop a sweep and never steer it (contracts.md section 2).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from planner.errors import BudgetError, SpaceError
from planner.ledger import Ledger
from planner.means import Budget
from planner.run import Round
from planner.sweep.pace import Pace, Work
from planner.units import format_duration

GO_ON = "what has ended is kept; raise it and run the same command again"

LOOK_SECONDS = 5.0
"""How long the driver waits at most for an event before it looks at clocks."""

GRACE_SECONDS = 2.0
"""What stopping a running trial may take; a clock stops the sweep so much early."""


@dataclass(frozen=True, slots=True)
class Load:
    """A trial under way: its work, and the clock when its call began."""

    work: Work
    began: float


@dataclass(frozen=True, slots=True)
class Approval:
    """Rounds above so many dollars are asked about; without anyone to ``ask`` they stop."""

    above: float
    ask: Callable[[str], bool] | None = None


class Limits:
    """A budget, with the price of a device hour and the clock of this command."""

    def __init__(
        self,
        budget: Budget,
        price: float | None = None,
        approval: Approval | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._budget, self._price, self._clock = budget, price, clock
        self._approval = approval
        self._began = clock()
        self._pace = Pace()
        self._clocked = any(
            limit is not None for limit in (budget.gpu_hours, budget.usd, budget.wall)
        )
        for what, asked in (("budget.usd", budget.usd), ("--approve-above", approval)):
            if asked is not None and price is None:
                raise SpaceError(
                    f"{what} needs a price per device hour: state budget.price (or target.price)"
                )

    def approve(self, step: Round, ledger: Ledger, works: Sequence[Work]) -> bool:
        """Say whether a round may run, of which ``works`` are left.

        False while nothing has ended that tells the time of a trial: then one of them, the
        smallest, is to run alone first. Raises BudgetError when it costs more than is approved.
        """
        if self._approval is None or self._price is None:
            return True
        self._pace.follow(ledger.runs)
        if not self._pace.known:
            return False
        hours = sum(self._pace.expect(work) * work.devices for work in works) / 3600
        usd, above, ask = hours * self._price, self._approval.above, self._approval.ask
        told = (
            f"round {step.number} ({step.stage}: {step.why}) is expected to cost ${usd:.3g}: "
            f"{len(works)} trials, {hours:.3g} device hours"
        )
        if usd <= above or (ask is not None and ask(told)):
            return True
        raise BudgetError(
            f"{told}. That is above --approve-above {above:g} and was not approved; none of these "
            f"trials has started. To go on run the same command with "
            f"--approve-above {_round_up(usd):g}"
        )

    def expect(self, ledger: Ledger, work: Work) -> float:
        """Return the seconds a trial is expected to take by those that have ended; else 0."""
        self._pace.follow(ledger.runs)
        return self._pace.expect(work)

    def commit(self, ledger: Ledger, running: Collection[Load], work: Work) -> Load:
        """Take a trial's work beside the ``running`` ones; BudgetError if it does not fit."""
        if self._clocked:
            self._pace.follow(ledger.runs)
        spent = ledger.spent_flops + sum(load.work.flops for load in running)
        if spent + work.flops > self._budget.flops:
            raise BudgetError(
                f"{spent:.3g} of {self._budget.flops:.3g} FLOPs are spent or running, and the next "
                f"trial takes {work.flops:.3g}; attempts lost to crashes count too. "
                f"budget.flops: {GO_ON}"
            )
        promised = self._pace.promise(work) if self._clocked else 0.0
        self._refuse_hours(self._hours(ledger, running, committed=True), promised * work.devices)
        self._refuse_wall(promised * work.stack)
        return Load(work, self._clock())

    def patience(self, ledger: Ledger, running: Collection[Load]) -> float:
        """Return how many seconds may pass before clocks must be looked at again.

        Raises BudgetError when one of them is about to reach its limit.
        """
        hours = self._hours(ledger, running, committed=False)
        devices = sum(load.work.devices / load.work.stack for load in running)
        self._refuse_hours(hours, GRACE_SECONDS * devices)
        self._refuse_wall(GRACE_SECONDS)
        left = [LOOK_SECONDS]
        if (allowed := self._allowed_hours()) < math.inf and devices:
            left.append((allowed - hours) * 3600 / devices - GRACE_SECONDS)
        if self._budget.wall is not None:
            left.append(self._budget.wall - (self._clock() - self._began) - GRACE_SECONDS)
        return min(left)

    def _hours(self, ledger: Ledger, running: Collection[Load], *, committed: bool) -> float:
        """Return device hours spent and running; running ones at their promise if ``committed``."""
        now, seconds = self._clock(), ledger.device_seconds
        for load in running:
            promised = self._pace.promise(load.work) if committed else 0.0
            seconds += load.work.devices * max((now - load.began) / load.work.stack, promised)
        return seconds / 3600

    def _allowed_hours(self) -> float:
        """Return the device hours that hours and dollars allow."""
        hours, usd = self._budget.gpu_hours or math.inf, self._budget.usd
        return min(hours, usd / self._price) if usd is not None and self._price else hours

    def _refuse_hours(self, hours: float, seconds: float) -> None:
        budget, more = self._budget, seconds / 3600
        if budget.gpu_hours is not None and hours + more >= budget.gpu_hours:
            raise BudgetError(
                f"the trials have used or claimed {hours:.3g} of {budget.gpu_hours:g} device hours "
                f"and going on takes {more:.2g} more. budget.gpu_hours: {GO_ON}"
            )
        price = self._price or 0.0
        if budget.usd is not None and (hours + more) * price >= budget.usd:
            raise BudgetError(
                f"the trials have cost or claimed ${hours * price:.2f} of ${budget.usd:g}, and "
                f"going on costs ${more * price:.2g} more. budget.usd: {GO_ON}"
            )

    def _refuse_wall(self, seconds: float) -> None:
        wall, elapsed = self._budget.wall, self._clock() - self._began
        if wall is not None and elapsed + seconds >= wall:
            raise BudgetError(
                f"this command has run for {format_duration(elapsed)} of {format_duration(wall)}, "
                f"and going on takes {format_duration(seconds)} more. budget.wall: {GO_ON}"
            )


def _round_up(usd: float) -> float:
    """Round to three digits, never down: what is asked for must let the round pass."""
    unit = 10.0 ** (math.floor(math.log10(usd)) - 2)
    return math.ceil(usd / unit) * unit
