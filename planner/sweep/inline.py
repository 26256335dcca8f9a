"""Trials one after the other in the driver's own process, for tests and for stepping through.

They run in a thread beside the driver, so that their progress is in the ledger while they run.
"""

from __future__ import annotations

import threading
from queue import Empty, SimpleQueue

from planner.proxy import StopTrial
from planner.sweep.events import Died, Event, Job, Progress
from planner.sweep.worker import run_job

CLOSING_SECONDS = 5.0
"""How long a trial may take to notice, at its next progress, that it is no longer wanted."""


class InlineExecutor:
    """One trial at a time in this process."""

    workers = 1

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._open = 0
        self._closed = False
        self._cancelled: dict[str, str] = {}
        self._thread = threading.Thread(target=self._serve, name="planner-inline", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._open += 1
        self._jobs.put(job)

    def next_event(self, timeout: float | None = None) -> Event | None:
        """Wait for the next event of the jobs in hand, at most ``timeout`` seconds."""
        if not self._open:
            raise RuntimeError("no job is left to wait for; submit one first")
        try:
            event = self._events.get(timeout=timeout)
        except Empty:
            return None
        self._open -= not isinstance(event, Progress)
        return event

    def cancel(self, key: str, note: str) -> None:
        """Stop a job at its next progress."""
        self._cancelled[key] = note

    def close(self) -> None:
        """Stop the running trial at its next progress and drop those still queued."""
        self._closed = True
        self._jobs.put(None)
        self._thread.join(CLOSING_SECONDS)

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None and not self._closed:
            ended = run_job(job, self._emit)
            note = self._cancelled.pop(job.key, None)
            self._events.put(ended if note is None else Died(job.key, job.attempt, note))

    def _emit(self, progress: Progress) -> None:
        if self._closed or progress.key in self._cancelled:
            raise StopTrial("the sweep was stopped")
        self._events.put(progress)
