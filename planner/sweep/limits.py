"""What may stop a sweep: FLOPs always; device hours, dollars and wall time where they are stated.

FLOPs are checked before a trial starts, against everything spent or running, so that the sum over
all attempts never exceeds the budget. The others are clocks: they stop a sweep between two trials
and never steer it (contracts.md section 2).
"""

from __future__ import annotations

import time

from planner.errors import BudgetError, SpaceError
from planner.ledger import Ledger
from planner.space import Budget
from planner.units import format_duration

GO_ON = "what has ended is kept; raise it and run the same command again"


class Limits:
    """A budget, with the price of a device hour and the clock of this command."""

    def __init__(self, budget: Budget, price: float | None = None) -> None:
        self._budget, self._price = budget, price
        self._began = time.monotonic()
        if self._budget.usd is not None and self._price is None:
            raise SpaceError("budget.usd needs a price per device hour: state target.price")

    def guard(self, ledger: Ledger, running: float, cost: float) -> None:
        """Refuse a trial of ``cost`` FLOPs beside ``running`` ones. Raises BudgetError."""
        budget, committed = self._budget, ledger.spent_flops + running
        if committed + cost > budget.flops:
            raise BudgetError(
                f"{committed:.3g} of {budget.flops:.3g} FLOPs are spent or running, and the next "
                f"trial takes {cost:.3g}; attempts lost to crashes count too. budget.flops: {GO_ON}"
            )
        hours = sum(run.seconds for run in ledger.runs.values()) / 3600
        if budget.gpu_hours is not None and hours >= budget.gpu_hours:
            raise BudgetError(
                f"the trials have used {hours:.2f} of {budget.gpu_hours:g} device hours. "
                f"budget.gpu_hours: {GO_ON}"
            )
        if budget.usd is not None and self._price is not None and hours * self._price >= budget.usd:
            raise BudgetError(
                f"the trials have cost ${hours * self._price:.2f} of ${budget.usd:g}. "
                f"budget.usd: {GO_ON}"
            )
        elapsed = time.monotonic() - self._began
        if budget.wall is not None and elapsed >= budget.wall:
            raise BudgetError(
                f"this command has run for {format_duration(elapsed)} of "
                f"{format_duration(budget.wall)}. budget.wall: {GO_ON}"
            )
