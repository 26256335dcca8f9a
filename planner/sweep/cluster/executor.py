"""Trials on a Ray cluster: plain tasks, their events streamed home; the only room that knows Ray.

    trial = one task that yields Progress, ..., Ended       (a streaming generator, retried by us)

Ray retries nothing: a worker or node that dies is a Died, and the loop counts the attempts; an
exception of the user's is an Ended with its traceback. The streams are the only channel (measured:
2 ms a trial and .2 ms an event), so nothing listens that Ray itself does not open.
"""

from __future__ import annotations

import math
import os
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.exceptions import AuthenticationError, LocalRayletDiedError, NodeDiedError, RayError
from ray.util.placement_group import PlacementGroup, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from planner.errors import PlannerError, UsageError
from planner.means import ExecutorChoice
from planner.sweep.cluster.session import alive_nodes, attach, head_of_cluster, start_own
from planner.sweep.cluster.tasks import how_it_ended, start
from planner.sweep.events import Died, Event, Job, Progress, Resources
from planner.sweep.resources import fits, room, too_large
from planner.sweep.stream import make_probe, refuse_unlike
from planner.sweep.worker import LEFT

GRACE_SECONDS = 5.0
"""How long a trial that is told to stop may take to its next report."""

LOOK_SECONDS = 2.0
"""How often the driver looks at the cluster's nodes and at trials that do not stop."""

HEAD_SECONDS = 20.0
"""How long the head may not answer before it counts as lost. Ray itself ends a process after 60."""

NEWS_SECONDS = 2.0
"""How long after its workers a node that was killed is known to be gone; measured 1.3 s."""

LOST = "the Ray head was lost"

RECONNECT_SECONDS = 120.0
"""How long a lost cluster may take to come back."""


@dataclass(frozen=True, slots=True)
class _Leaving:
    """A call that was told to stop, and when it will be stopped by force."""

    stream: Any
    died: list[Died]
    overdue: float


class RayExecutor:
    """Trials on the Ray cluster at ``choice.address``, or on a Ray of its own on this machine.

    Raises UsageError when the cluster cannot be reached, runs other versions, or has no node large
    enough for a trial.
    """

    def __init__(self, choice: ExecutorChoice) -> None:
        self._choice, self._folder = choice, os.getcwd()
        self._streams: dict[Any, Job] = {}
        self._events: deque[Event] = deque()
        self._leaving: dict[Any, _Leaving] = {}
        self._probes: dict[Any, str] = {}
        self._nodes: dict[str, dict[str, float]] = {}
        self._seen: list[dict[str, float]] = []
        self._groups: dict[str, PlacementGroup] = {}
        self._lost = False
        self._looked = self._answered = 0.0
        self._went = -math.inf
        self._ours = not ray.is_initialized()
        self._connect()

    @property
    def workers(self) -> int:
        """Trials the nodes of the cluster have room for now, and no more than were asked for."""
        choice = self._choice
        asked = Resources(choice.cpus_per_trial, choice.gpus, choice.nodes_per_trial)
        needs = {job.resources for job in self._streams.values()} or {asked}
        places = min(room(list(self._nodes.values()), need) for need in needs)
        return max(1, min(places, choice.workers or places))

    def refuse(self, need: Resources) -> None:
        """Raise UsageError when no node was ever large enough for such a trial."""
        if sum(fits(node, need) > 0 for node in self._seen) < need.nodes:
            raise UsageError(too_large(need, self._seen))

    def submit(self, job: Job) -> None:
        """Queue a job."""
        parent = job.parent_dir and os.path.abspath(job.parent_dir)
        job = replace(job, checkpoint_dir=os.path.abspath(job.checkpoint_dir), parent_dir=parent)
        try:
            stream, group = start(job, self._folder)
        except RayError:
            self._events += job.died(LOST, counts=False)
            self._come_back()
            return
        self._streams[stream] = job
        if group is not None:
            self._groups[job.key] = group

    def next_event(self, timeout: float | None = None) -> Event | None:
        """Wait for the next event of the jobs in hand, at most ``timeout`` seconds."""
        until = math.inf if timeout is None else time.monotonic() + timeout
        while not self._events:
            if not self._streams and not self._leaving:
                raise RuntimeError("no job is left to wait for; submit one first")
            left = until - time.monotonic()
            awaited = [*self._streams, *self._leaving]
            ready, _ = ray.wait(awaited, timeout=max(0.0, min(LOOK_SECONDS, left)))
            for one in ready:
                self._receive(one)
            if time.monotonic() - self._looked > LOOK_SECONDS:
                self._look()
            if left <= 0 and not self._events:
                return None
        event = self._events.popleft()
        if not isinstance(event, Progress) and event.key in self._groups:  # of one trial alone
            remove_placement_group(self._groups.pop(event.key))
        return event

    def cancel(self, key: str, note: str) -> None:
        """Ask a job to stop at its next report, and stop it by force after GRACE_SECONDS."""
        for stream, job in list(self._streams.items()):
            if job.holds(key):
                self._ask(stream, job.stopped(key, note))

    def preempt(self) -> None:
        """Ask every job to save its state and leave."""
        for stream, job in list(self._streams.items()):
            self._ask(stream, job.died(LEFT, counts=False))

    def close(self) -> None:
        """Stop what still runs; a cluster that was given stays up."""
        for stream in [*self._streams, *(one.stream for one in self._leaving.values())]:
            with suppress(RayError):
                ray.cancel(stream, force=True)
        self._streams, self._leaving = {}, {}
        if self._ours:
            ray.shutdown()

    def _ask(self, stream: Any, died: list[Died]) -> None:  # noqa: ANN401 - Ray's own type
        del self._streams[stream]
        ray.cancel(stream)  # from now on the stream is cut, and only its end can be waited for
        overdue = time.monotonic() + GRACE_SECONDS
        self._leaving[stream.completed()] = _Leaving(stream, died, overdue)

    def _receive(self, stream: Any) -> None:  # noqa: ANN401 - Ray's own type is private
        if (left := self._leaving.pop(stream, None)) is not None:
            self._events += left.died
            return
        job = self._streams.pop(stream)
        try:
            event: Event = ray.get(next(stream))
        except StopIteration:
            self._events += job.died("its task ended without a result")
        except LocalRayletDiedError:
            self._events += job.died("Ray died on the driver's machine", counts=False)
            self._lost = True
        except RayError as error:
            counts = not isinstance(error, NodeDiedError) and not self._node_went()
            self._events += job.died(how_it_ended(error), counts=counts)
        else:
            self._events.append(event)
            if left_over := job if isinstance(event, Progress) else job.without(event.key):
                self._streams[stream] = left_over  # behind others: none waits for a chatty one

    def _look(self) -> None:
        """See which nodes there are, what became of the probes, and who does not stop."""
        self._looked = now = time.monotonic()
        for left in self._leaving.values():
            if left.overdue < now:
                ray.cancel(left.stream, force=True)
        try:
            self._count_nodes()
            self._answered = now
        except AuthenticationError:  # another cluster answers at the address
            self._lost = True
        except RayError:
            self._lost = self._lost or now - self._answered > HEAD_SECONDS
        if self._lost:
            self._come_back()
        self._read_probes()

    def _count_nodes(self) -> None:
        alive = alive_nodes(self._head)
        for name in alive.keys() - self._nodes.keys():
            self._seen.append(alive[name])
            if self._choice.address:
                place = NodeAffinitySchedulingStrategy(name, soft=False)
                probe = ray.remote(make_probe()).options(num_cpus=0, scheduling_strategy=place)
                self._probes[probe.remote(self._folder)] = name
        if self._nodes.keys() - alive.keys():
            self._went = time.monotonic()
        self._nodes = alive

    def _node_went(self) -> bool:
        """Say whether a node is gone, whose workers' deaths may be the first that is heard of it.

        Then no trial is to blame. The news takes a moment, and so does this.
        """
        until = time.monotonic() + NEWS_SECONDS
        while time.monotonic() < until and self._went < until - 2 * NEWS_SECONDS:
            with suppress(RayError):
                self._count_nodes()
            time.sleep(NEWS_SECONDS / 10)
        return self._went >= until - 2 * NEWS_SECONDS

    def _read_probes(self, patience: float = 0.0) -> None:
        """Raise UsageError when a node cannot run this sweep as the driver would."""
        if not self._probes:
            return
        ready, _ = ray.wait(list(self._probes), num_returns=len(self._probes), timeout=patience)
        for probe in ready:
            del self._probes[probe]
            with suppress(RayError):  # the node has gone again
                refuse_unlike(ray.get(probe), self._folder)

    def _connect(self) -> None:
        if self._choice.address and self._ours:
            attach(self._choice.address)
        elif self._ours:
            start_own(self._choice)
        self._head = head_of_cluster()
        self._nodes, self._probes = {}, {}
        self._answered = time.monotonic()
        self._count_nodes()
        self._read_probes(patience=60.0)

    def _come_back(self) -> None:
        """Give every running job up, and wait for the cluster to come back. Raises PlannerError."""
        jobs = self._streams.values()
        self._events += [died for job in jobs for died in job.died(LOST, counts=False)]
        self._events += [died for left in self._leaving.values() for died in left.died]
        self._streams, self._leaving, self._groups = {}, {}, {}
        self._ours, self._lost = True, False
        ray.shutdown()
        give_up = time.monotonic() + RECONNECT_SECONDS
        while True:
            try:
                return self._connect()
            except (UsageError, RayError, RuntimeError, ConnectionError) as error:
                if time.monotonic() > give_up:
                    raise PlannerError(
                        f"{LOST} and did not come back within {RECONNECT_SECONDS:g} s; all that "
                        "has ended is kept: start the cluster again, and the same command goes on"
                    ) from error
                time.sleep(LOOK_SECONDS)
