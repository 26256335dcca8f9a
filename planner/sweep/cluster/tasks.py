"""What a sweep asks of Ray: one task per trial, or one per node of a trial that spans several.

    trial on n nodes = a placement group of n bundles, each on a node of its own; the proxy trains
    on all of them at once, told where it is by the environment (:func:`rendezvous`)

The task on the first node streams the events; the others follow it, end with it, and what goes
wrong with one of them goes wrong with the trial.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import NodeDiedError, RayError, WorkerCrashedError
from ray.util import get_node_ip_address
from ray.util.placement_group import (
    PlacementGroup,
    get_current_placement_group,
    placement_group,
)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from planner.run import Status
from planner.sweep.events import Ended, Event, Job, Resources
from planner.sweep.stream import enter, stream_job


def start(job: Job, folder: str) -> tuple[Any, PlacementGroup | None]:
    """Start a job; return the stream of its events, and the group of nodes it holds if several."""
    need = job.resources
    if need.nodes == 1:
        return trial.options(**_amounts(need), scheduling_strategy=_strategy(need)).remote(
            job, folder
        ), None
    group = placement_group([_bundle(need)] * need.nodes, strategy="STRICT_SPREAD")
    return leader.options(**_amounts(need), scheduling_strategy=_seat(group, 0)).remote(
        job, folder
    ), group


@ray.remote(max_retries=0, num_returns="streaming")
def trial(job: Job, folder: str) -> Iterator[Event]:
    """Train on one node."""
    enter(folder)
    yield from stream_job(_placed(job))


@ray.remote(max_retries=0, num_returns="streaming", max_calls=1)
def leader(job: Job, folder: str) -> Iterator[Event]:
    """Train on the first node of a group, and have the others follow."""
    enter(folder)
    group, need = get_current_placement_group(), job.resources
    assert group is not None  # it was started in one
    seats = [_seat(group, rank) for rank in range(1, need.nodes)]
    places = [place.options(scheduling_strategy=seat).remote() for seat in seats]
    meeting = rendezvous([_address(), *ray.get(places)], need)
    followers = [
        follower.options(**_amounts(need), scheduling_strategy=seat).remote(
            job, folder, meeting | ranked(rank)
        )
        for rank, seat in enumerate(seats, start=1)
    ]
    os.environ.update(meeting | ranked(0))

    def watch() -> str:
        ended, _ = ray.wait(followers, num_returns=len(followers), timeout=0)
        return next((note for note in ray.get(ended) if note), "")

    yield from stream_job(_placed(job), watch)


@ray.remote(max_retries=0, num_cpus=0)
def place() -> str:
    """Return the address of a node."""
    return _address()


@ray.remote(max_retries=0, max_calls=1)
def follower(job: Job, folder: str, meeting: Mapping[str, str]) -> str:
    """Train on another node of a group; return what went wrong, empty when nothing did."""
    enter(folder)
    os.environ.update(meeting)
    *_, ended = stream_job(_placed(job))
    if isinstance(ended, Ended) and ended.outcome.status is Status.FAILED:
        return f"on node {meeting['NODE_RANK']}: {ended.outcome.note}"
    return ""


def rendezvous(addresses: Sequence[str], need: Resources) -> dict[str, str]:
    """Return the environment by which the processes of a trial on several nodes find each other.

    MASTER_ADDR, MASTER_PORT, NNODES and PLANNER_NODES (all addresses), and the names under which
    torchrun reads its own options, so that a plain `torchrun train.py` is enough. The port is one
    that is free on the first node.
    """
    with socket.socket() as one:
        one.bind((addresses[0], 0))
        port = str(one.getsockname()[1])
    return {
        "PLANNER_NODES": ",".join(addresses),
        "MASTER_ADDR": addresses[0],
        "MASTER_PORT": port,
        "NNODES": str(len(addresses)),
        "PET_NNODES": str(len(addresses)),
        "PET_NPROC_PER_NODE": str(max(1, int(need.gpus))),
        "PET_MASTER_ADDR": addresses[0],
        "PET_MASTER_PORT": port,
    }


def ranked(rank: int) -> dict[str, str]:
    """Return the environment that says which of the nodes this is."""
    return dict.fromkeys(("PLANNER_NODE_RANK", "NODE_RANK", "PET_NODE_RANK"), str(rank))


def how_it_ended(error: RayError) -> str:
    """Say in a line how a task ended."""
    if isinstance(error, NodeDiedError):
        return "the node it ran on is gone"
    if isinstance(error, WorkerCrashedError):
        return "its process was killed; if nobody did that, the memory ran out"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"Ray ended it ({type(error).__name__}): {lines[-1][:300] if lines else 'no reason'}"


def _address() -> str:
    return str(get_node_ip_address())  # type: ignore[no-untyped-call]


def _placed(job: Job) -> Job:
    """Say where a call trains, though its resources were asked for elsewhere."""
    device = "cuda:0" if ray.get_gpu_ids() else job.device
    stack = tuple(replace(one, device=device) for one in job.stack)
    return replace(job, device=device, stack=stack)


def _amounts(need: Resources) -> dict[str, Any]:
    memory = {"memory": need.memory} if need.memory else {}
    return {"num_cpus": need.cpus, "num_gpus": need.gpus} | memory


def _bundle(need: Resources) -> dict[str, float]:
    amounts = {"CPU": need.cpus, "GPU": need.gpus, "memory": float(need.memory)}
    return {name: amount for name, amount in amounts.items() if amount}


def _strategy(need: Resources) -> str:
    """Spread what is large; Ray's own rule fills a device with the small ones before the next."""
    return "SPREAD" if need.gpus >= 1 or need.cpus > 1 else "DEFAULT"


def _seat(group: PlacementGroup, rank: int) -> PlacementGroupSchedulingStrategy:
    return PlacementGroupSchedulingStrategy(group, rank)
