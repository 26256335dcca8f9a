"""Trials in processes of this machine, each on one thread: a pool that survives its workers.

A worker is a fresh interpreter (never a fork: torch and BLAS threads do not survive one) at the
other end of one socket. The socket's end is the only sign of death either side needs: the driver
reads it as a worker that died, the worker as a driver that is gone. Each worker leads a process
group of its own, so Ctrl-C reaches the driver alone and whatever a trial has started ends with its
worker. A worker that gets SIGTERM, as schedulers send to all processes of a job, lets its trial
save its state at the next report and ends.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue
from types import FrameType
from typing import TypeAlias

from planner.errors import UsageError
from planner.sweep.events import Event, Job, Progress, Resources
from planner.sweep.seats import VISIBLE
from planner.sweep.worker import run_call

_ToDriver: TypeAlias = "Connection[Event, Job | None]"
_ToWorker: TypeAlias = "Connection[Job | None, Event]"
"""None asks the worker to let its trial leave."""

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)
"""Read by the libraries when they are imported, so set before the worker begins."""

GRACE_SECONDS = 1.0
"""How long a worker may take to end by itself once its driver has let go."""

LOOK_SECONDS = 1.0
"""How often workers are looked at that say nothing."""

_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from planner.sweep.local import serve; serve(int(sys.argv[2]))"
)


@dataclass(slots=True)
class _Worker:
    """A worker as its driver sees it; ``job`` is what it is busy with, ``seat`` its place."""

    process: subprocess.Popen[bytes]
    pipe: _ToWorker
    seat: int
    job: Job | None = None

    def end(self, grace: float) -> int:
        """Let go, wait, then kill what is left of the group; return the exit code."""
        self.pipe.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(grace)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait()


class LocalExecutor:
    """Up to ``workers`` trials at once, each in its own process on one thread.

    Workers start when there is work for them; one that dies is replaced by the next job. Where
    there are ``seats``, each says what GPUs one of the workers sees (:mod:`planner.sweep.seats`).
    """

    def __init__(self, workers: int, seats: Sequence[str] = ()) -> None:
        self.workers, self._seats = workers, seats
        self._pool: list[_Worker] = []
        self._waiting: deque[Job] = deque()
        self._events: deque[Event] = deque()

    def refuse(self, need: Resources) -> None:
        """Raise UsageError when a trial takes more GPUs than a worker has."""
        held = min((seat.count(",") + 1 for seat in self._seats), default=0)
        if need.gpus > held:
            raise UsageError(
                f"a trial asks for {need.gpus:g} GPUs (the proxy's resources(trial) says so), and "
                f"each worker has {held}: give --gpus-per-trial {need.gpus:g}, if this machine has "
                "as many, or use --executor ray"
            )

    def submit(self, job: Job) -> None:
        """Queue a job; it starts at once if a worker is free."""
        self._waiting.append(job)
        self._assign()

    def next_event(self, timeout: float | None = None) -> Event | None:
        """Wait for the next event of the jobs in hand, at most ``timeout`` seconds."""
        until = math.inf if timeout is None else time.monotonic() + timeout
        while not self._events:
            self._assign()
            busy = [worker for worker in self._pool if worker.job]
            if not busy:
                raise RuntimeError("no job is left to wait for; submit one first")
            left = until - time.monotonic()
            ready = wait([worker.pipe for worker in busy], max(0.0, min(LOOK_SECONDS, left)))
            for worker in busy:
                if worker.process.poll() is not None or worker.pipe in ready:
                    self._receive(worker)
            if left <= 0 and not self._events:
                return None
        return self._events.popleft()

    def cancel(self, key: str, note: str) -> None:
        """End the worker a job runs on, or take the job out of the queue."""
        for job in [job for job in self._waiting if job.holds(key)]:
            self._waiting.remove(job)
            self._events += job.stopped(key, note)
        for worker in list(self._pool):
            if worker.job is not None and worker.job.holds(key):
                self._events += worker.job.stopped(key, note)
                self._drop(worker)

    def preempt(self) -> None:
        """Ask every worker to let its trial leave, and drop the queue."""
        while self._waiting:
            self._events += self._waiting.popleft().unstarted()
        for worker in self._pool:
            with suppress(OSError):
                worker.pipe.send(None)

    def close(self) -> None:
        """End every worker: those still training after a moment's grace by force."""
        for worker in self._pool:
            worker.pipe.close()
        for worker in self._pool:
            worker.end(2 * GRACE_SECONDS)
        self._pool.clear()
        self._waiting.clear()

    def _assign(self) -> None:
        while self._waiting:
            worker = next((worker for worker in self._pool if not worker.job), None)
            if worker is None and len(self._pool) == self.workers:
                return
            worker = worker or self._start()
            try:
                worker.pipe.send(self._waiting[0])
            except OSError:  # it died while idle: nothing is lost, another one takes the job
                self._drop(worker)
            else:
                worker.job = self._waiting.popleft()

    def _start(self) -> _Worker:
        ours, theirs = Pipe()
        seat = min(set(range(self.workers)) - {worker.seat for worker in self._pool})
        sees = {VISIBLE: self._seats[seat]} if self._seats else {}
        command = [sys.executable, "-P", "-c", _BOOT, json.dumps(sys.path), str(theirs.fileno())]
        process = subprocess.Popen(
            command,
            env=os.environ | ONE_THREAD | sees,
            stdin=subprocess.DEVNULL,
            stdout=2,  # a trainer's prints are logs; stdout is the driver's own
            pass_fds=[theirs.fileno()],
            process_group=0,
        )
        theirs.close()
        worker = _Worker(process, ours, seat)
        self._pool.append(worker)
        return worker

    def _receive(self, worker: _Worker) -> None:
        job = worker.job
        assert job is not None
        try:
            if not worker.pipe.poll():  # dead, though a process it forked still holds the socket
                raise EOFError
            event: Event = worker.pipe.recv()
        except (EOFError, OSError):
            worker.job = None
            self._events += job.died(_how(self._drop(worker)))
            return
        if not isinstance(event, Progress):
            worker.job = job.without(event.key)
        self._events.append(event)

    def _drop(self, worker: _Worker) -> int:
        self._pool.remove(worker)
        return worker.end(GRACE_SECONDS)


def _how(code: int) -> str:
    """Say how a process ended."""
    if code == -signal.SIGKILL:
        return "its process was killed (SIGKILL); if nobody did that, the memory ran out"
    if code < 0:
        return f"its process ended with {signal.Signals(-code).name}"
    return f"its process ended by itself with exit code {code}"


def serve(descriptor: int) -> None:
    """Run jobs from the socket one by one until its other end closes; a worker's whole life."""
    os.set_inheritable(descriptor, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe: _ToDriver = Connection(descriptor)
    jobs: SimpleQueue[Job | None] = SimpleQueue()
    leave, ends = threading.Event(), threading.Event()
    threading.Thread(target=_listen, args=(pipe, jobs, leave), daemon=True).start()

    def polite(number: int, frame: FrameType | None) -> None:
        ends.set()
        leave.set()
        jobs.put(None)

    def send(event: Event) -> None:
        try:
            pipe.send(event)
        except OSError:
            _end_group()

    signal.signal(signal.SIGTERM, polite)
    while (job := jobs.get()) is not None:
        events = run_call(job, send, leave)
        if not ends.is_set():
            leave.clear()
        for event in events:
            send(event)


def _listen(pipe: _ToDriver, jobs: SimpleQueue[Job | None], leave: threading.Event) -> None:
    """Hand jobs on; when the driver lets go or dies, end with all this worker has started.

    It runs beside the training, so that a driver's death is noticed in the middle of a trial.
    """
    with suppress(EOFError, OSError):
        while True:
            if (job := pipe.recv()) is None:
                leave.set()
            else:
                jobs.put(job)
    jobs.put(None)
    time.sleep(GRACE_SECONDS)
    _end_group()


def _end_group() -> None:
    os.killpg(os.getpgrp(), signal.SIGKILL)
