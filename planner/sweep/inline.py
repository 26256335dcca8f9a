"""Trials one after the other in the driver's own process, for tests and for stepping through.

Each runs in a thread beside the driver, so that its progress is in the ledger while it runs. A
thread cannot be ended from outside: a cancelled trial that never reports again is left behind.
"""

from __future__ import annotations

import threading
from collections import deque
from queue import Empty, SimpleQueue

from planner.proxy import StopTrial
from planner.sweep.events import Died, Event, Job, Progress
from planner.sweep.worker import run_call

CLOSING_SECONDS = 5.0
"""How long a trial may take to notice, at its next progress, that it is no longer wanted."""


class _Running(threading.Thread):
    """One call under way; after ``drop`` nothing more is heard of it."""

    def __init__(self, job: Job, events: SimpleQueue[Event]) -> None:
        super().__init__(name="planner-inline", daemon=True)
        self.job, self.leave, self.dropped = job, threading.Event(), False
        self.left = {(one.key, one.attempt) for one in job.members}
        self._events = events

    def run(self) -> None:
        for ended in run_call(self.job, self._emit, self.leave):
            if not self.dropped:
                self._events.put(ended)

    def drop(self) -> None:
        self.dropped = True

    def _emit(self, progress: Progress) -> None:
        if self.dropped:
            raise StopTrial("the sweep was stopped")
        self._events.put(progress)


class InlineExecutor:
    """One trial at a time in this process."""

    workers = 1

    def __init__(self) -> None:
        self._waiting: deque[Job] = deque()
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._running: _Running | None = None
        self._open: set[tuple[str, int]] = set()

    def submit(self, job: Job) -> None:
        """Queue a job; it starts at once if none is under way."""
        self._open |= {(one.key, one.attempt) for one in job.members}
        self._waiting.append(job)
        self._start()

    def next_event(self, timeout: float | None = None) -> Event | None:
        """Wait for the next event of the jobs in hand, at most ``timeout`` seconds."""
        if not self._open:
            raise RuntimeError("no job is left to wait for; submit one first")
        try:
            event = self._events.get(timeout=timeout)
        except Empty:
            return None
        if isinstance(event, Progress):
            return event
        if (event.key, event.attempt) not in self._open:  # it ended just as it was cancelled
            return None
        self._open.remove((event.key, event.attempt))
        if self._running and (event.key, event.attempt) in self._running.left:
            self._running.left.remove((event.key, event.attempt))
            self._running = self._running if self._running.left else None
        self._start()
        return event

    def cancel(self, key: str, note: str) -> None:
        """Let go of a job: a running one stops at its next progress."""
        for job in [job for job in self._waiting if job.holds(key)]:
            self._waiting.remove(job)
            self._tell(job.stopped(key, note))
        if self._running and self._running.job.holds(key) and not self._running.dropped:
            self._running.drop()
            self._tell(self._running.job.stopped(key, note))

    def preempt(self) -> None:
        """Ask the running trial to leave at its next report; those queued leave at once."""
        while self._waiting:
            self._tell(self._waiting.popleft().unstarted())
        if self._running:
            self._running.leave.set()

    def close(self) -> None:
        """Stop the running trial at its next progress and drop those still queued."""
        self._waiting.clear()
        if self._running:
            self._running.drop()
            self._running.join(CLOSING_SECONDS)

    def _tell(self, deaths: list[Died]) -> None:
        for died in deaths:
            self._events.put(died)

    def _start(self) -> None:
        if self._running is None and self._waiting:
            self._running = _Running(self._waiting.popleft(), self._events)
            self._running.start()
