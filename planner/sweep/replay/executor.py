"""A table under the sweep's own loop: an executor that looks losses up, and a ledger in memory.

The rounds, retries, limits and the fold of the log are those of a real sweep; only the disk and the
training are gone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from planner.ledger import Ledger
from planner.proxy import Context, Outcome
from planner.run import Run, Status, Trial
from planner.shape import Size
from planner.sweep.events import Ended, Event, Job
from planner.sweep.replay.pool import Pool


class MemoryLedger(Ledger):
    """A ledger without a folder: the same fold of the same events, kept nowhere else."""

    def __init__(self) -> None:
        super().__init__(Path())

    def ended(self, run: Run) -> bool:
        """Record the end of an attempt, as a ledger on disk does."""
        recorded = self._is_news(run)
        self._append("ended", {"run": run.to_json()})
        return recorded

    def _append(self, kind: str, content: dict[str, Any], *, durable: bool = True) -> None:
        self._apply({"event": kind} | content)


class TableProxy:
    """The rows of a pool as shapes {"row": i}: sized as the table says, trained by nobody."""

    capabilities: frozenset[str] = frozenset()

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def size(self, shape: Mapping[str, Any]) -> Size:
        """Return the row's N, in the table's convention, and its FLOPs per token."""
        row = shape["row"]
        params = float(self.pool.params[row])
        tokens = whole(self.pool.tokens[row])
        return Size(params, params, params, float(self.pool.flops[row]) / tokens)

    def recipe(self) -> Mapping[str, Any]:
        """Return what all rows share: nothing but the table."""
        return {"proxy": "table"}

    def train(self, trial: Trial, ctx: Context) -> Outcome:
        """Return what became of the row."""
        loss = float(self.pool.loss[trial.shape["row"]])
        status = Status.DONE if np.isfinite(loss) else Status.DIVERGED
        return Outcome(status, loss, 0.0, trial.tokens)


class TableExecutor:
    """Answers every job from the table, in the order they came."""

    workers = 1

    def __init__(self, proxy: TableProxy) -> None:
        self._proxy = proxy
        self._events: deque[Event] = deque()

    def submit(self, job: Job) -> None:
        """Look the job's row up."""
        outcome = self._proxy.train(job.trial, ctx=None)  # type: ignore[arg-type]
        self._events.append(Ended(job.key, job.attempt, outcome, {}, 0.0, "table"))

    def next_event(self, timeout: float | None = None) -> Event | None:
        """Return the oldest answer; there is nothing to wait for."""
        return self._events.popleft()

    def cancel(self, key: str, note: str) -> None:
        """Nothing runs."""

    def preempt(self) -> None:
        """Nothing runs."""

    def close(self) -> None:
        """Nothing runs."""


def whole(count: float) -> int:
    """Return a count as a trial states it; 0 where the table has none."""
    return round(float(count)) if np.isfinite(count) else 0
