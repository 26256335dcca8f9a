"""A trial as the stream of its events, and what a machine must have in common with its driver.

    Progress, Progress, ..., Ended        out of one generator, which a cluster carries home

The trial trains in a thread beside the generator, so that a request to leave (an interrupt of the
main thread, as Ray sends it) reaches a trial that is in the middle of a step: it hears of it at its
next report.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from queue import Empty, SimpleQueue
from threading import Event as Flag
from threading import Thread

from planner.errors import UsageError
from planner.proxy import Outcome
from planner.run import Status
from planner.sweep.events import Died, Ended, Event, Job
from planner.sweep.worker import run_call

WATCH_SECONDS = 1.0
"""How often a trial on several nodes looks after the others."""


def stream_job(job: Job, watch: Callable[[], str] | None = None) -> Iterator[Event]:
    """Train a job and its stack, and yield what they tell, their ends last.

    ``watch`` is asked every second; what it says is why the trial has failed.
    """
    events: SimpleQueue[Event] = SimpleQueue()
    leave = Flag()

    def train() -> None:
        for ended in run_call(job, events.put, leave):
            events.put(ended)

    Thread(target=train, name="planner-trial", daemon=True).start()
    left = len(job.members)
    while left:
        try:
            event = events.get(timeout=WATCH_SECONDS if watch else None)
        except KeyboardInterrupt:
            leave.set()
            continue
        except Empty:
            if watch and (note := watch()):
                outcome = Outcome(Status.FAILED, math.nan, math.nan, job.trial.fork_at, note)
                event = Ended(job.key, job.attempt, outcome, {}, 0.0, job.device)
            else:
                continue
        yield event
        left -= isinstance(event, Ended | Died)


def make_probe() -> Callable[[str], dict[str, str]]:
    """Return a function that tells what a machine must have in common with the driver.

    It refers to nothing of this package, so that it also runs where the package is missing.
    """

    def probe(folder: str) -> dict[str, str]:
        import os
        import platform
        from importlib.metadata import PackageNotFoundError, version

        facts = {"host": platform.node(), "folder": folder if os.path.isdir(folder) else "missing"}
        facts["python"] = ".".join(platform.python_version_tuple()[:2])
        for name in ("ray", "scaling-planner"):
            try:
                facts[name] = version(name)
            except PackageNotFoundError:
                facts[name] = "missing"
        return facts

    return probe


def refuse_unlike(theirs: Mapping[str, str], folder: str) -> None:
    """Raise UsageError when a machine cannot run trials as the driver would, with what differs."""
    ours = make_probe()(folder)
    unlike = [name for name in ("python", "ray", "scaling-planner") if theirs[name] != ours[name]]
    if unlike:
        differs = " and ".join(f"{name} {theirs[name]}, not {ours[name]}" for name in unlike)
        raise UsageError(
            f"node {theirs['host']} of the Ray cluster has {differs}, which the driver has: "
            "install the driver's versions there, or start the sweep from such an environment"
        )
    if theirs["folder"] != ours["folder"]:
        raise UsageError(
            f"node {theirs['host']} of the Ray cluster has no folder {folder}: start the sweep in "
            "a folder that all nodes share"
        )


def enter(folder: str) -> None:
    """Work in the driver's folder, so that relative paths mean the same. Raises OSError."""
    if os.getcwd() != folder:
        os.chdir(folder)
