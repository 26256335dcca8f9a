"""How a driver comes to a Ray: one of its own, on loopback alone, or a cluster that is given."""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
from typing import Any

import ray
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.exceptions import RayError

from planner.errors import UsageError
from planner.means import ExecutorChoice

STORE_BYTES = 100 << 20
"""Object store of a Ray started here; a curve is the largest thing that passes through it."""

ANSWER_SECONDS = 2.0
"""How long the head of a cluster may take to answer."""


def start_own(choice: ExecutorChoice) -> None:
    """Start Ray on this machine, listening on loopback alone."""
    from ray._private import ray_constants

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False  # else Ray opens its ports on every interface
    try:
        _init(
            address="local",
            num_cpus=math.ceil(choice.processes * choice.cpus_per_trial),
            include_dashboard=False,
            object_store_memory=STORE_BYTES,
        )
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def attach(address: str) -> None:
    """Join the cluster at ``auto`` or host:port. Raises UsageError with what is in the way."""
    if address != "auto" and not _answers(address):
        raise UsageError(
            f"no Ray cluster answers at {address}: give its head's HOST:PORT as `ray start --head` "
            "prints it, or leave --ray-address out to start Ray on this machine"
        )
    try:
        _init(address=address)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        raise UsageError(f"the Ray cluster at {address} cannot be joined: {_why(error)}") from error


def _why(error: BaseException) -> str:
    """Say in a line why a cluster cannot be joined."""
    told = f"{error}\n{error.__cause__}"
    if "AuthenticationError" in told:
        return (
            "it asks for a token; set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or ~/.ray/auth_token "
            "as on its head"
        )
    if "ersion mismatch" in told:
        return "it runs " + " ".join(told.partition("ersion mismatch")[2].split())[:300]
    return str(error).strip().splitlines()[-1][:300]


def _init(**options: Any) -> None:  # noqa: ANN401 - Ray's own
    """Connect, leaving the signal that asks the sweep to stop as it was."""
    before = signal.getsignal(signal.SIGTERM)
    ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    signal.signal(signal.SIGTERM, before)


def _answers(address: str) -> bool:
    """Say whether something listens at host:port."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
    except (OSError, ValueError):
        return False
    return True


def head_of_cluster() -> Any:  # noqa: ANN401 - Ray's own type is private
    """Return a line to the head of the cluster this process has joined.

    A line of our own: `ray.nodes()` ends the process where another cluster answers meanwhile.
    """
    return GcsClient(address=ray.get_runtime_context().gcs_address)


def alive_nodes(head: Any) -> dict[str, dict[str, float]]:  # noqa: ANN401
    """Return what each node that is alive has of each resource.

    Raises RayError when the head does not answer, AuthenticationError when it is another one.
    """
    nodes = head.get_all_node_info(timeout=ANSWER_SECONDS)
    return {key.hex(): dict(node.resources_total) for key, node in nodes.items() if not node.state}
