"""What a trial occupies where it runs: as the YAML asks, or as the proxy says of this trial.

    memory = PROCESS_BYTES + BYTES_PER_PARAM * params_total, up to the next power of two

The formula serves to pack trials onto machines where the proxy says nothing: a floor, because what
a batch takes beside it is up to how the trainer splits it. A proxy that knows better has a method
``resources(trial)``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from planner.errors import SpaceError
from planner.means import ExecutorChoice
from planner.proxy import Proxy
from planner.run import Trial
from planner.sweep.events import Resources

PROCESS_BYTES = 400 << 20
"""Resident size of a worker with torch loaded that has not trained yet; measured 300-400 MB."""

BYTES_PER_PARAM = 16
"""float32 weight, gradient and two moments of Adam."""

MEGABYTE = 1 << 20

SAYS = ("cpus", "gpus", "nodes", "memory")
"""What a proxy may say of a trial."""

HERE = ("inline", "local")
"""The executors that train on the driver's machine."""

HELD = ("CPU", "GPU", "memory")
"""What Ray calls what a node has."""


def resources_of(choice: ExecutorChoice, proxy: Proxy, trial: Trial) -> Resources:
    """Return what one attempt at a trial occupies. Raises SpaceError for a proxy's bad answer.

    What the proxy's optional ``resources(trial)`` names (a mapping of cpus, gpus, nodes, memory)
    goes before what the YAML asks for; only on this machine without a GPU it cannot have one.
    """
    asked = Resources(
        choice.cpus_per_trial, choice.gpus, choice.nodes_per_trial, _memory(proxy, trial)
    )
    say = getattr(proxy, "resources", None)
    if say is None:
        return _spreadable(asked, proxy)
    said: Mapping[str, float] = say(trial)
    if wrong := [name for name in said if name not in SAYS or not said[name] >= 0]:
        raise SpaceError(
            f"the proxy's resources(trial) says {wrong[0]} = {said[wrong[0]]}; it may say "
            f"{', '.join(SAYS)}, none of them negative"
        )
    found = Resources(
        said.get("cpus", asked.cpus),
        said.get("gpus", asked.gpus) if asked.gpus or choice.name not in HERE else 0,
        int(said.get("nodes", asked.nodes)),
        int(said.get("memory", asked.memory)),
    )
    return _spreadable(found, proxy)


def _spreadable(asked: Resources, proxy: Proxy) -> Resources:
    if asked.nodes > 1 and "distributed" not in proxy.capabilities:
        raise SpaceError(
            f"a trial asks for {asked.nodes} nodes, and the proxy does not say that it can train "
            'on several: give it the capability "distributed", or ask for one node'
        )
    return asked


def fits(node: Mapping[str, float], need: Resources) -> int:
    """Return how many trials a node holds; a share of a GPU never spans two."""
    per_gpu = math.floor(1 / need.gpus) if 0 < need.gpus < 1 else 1 / (need.gpus or math.inf)
    rooms = [node.get("CPU", 0.0) / need.cpus]
    rooms += [node.get("GPU", 0.0) * per_gpu] if need.gpus else []
    rooms += [node.get("memory", 0.0) / need.memory] if need.memory else []
    return math.floor(min(rooms) + 1e-9)


def room(nodes: Sequence[Mapping[str, float]], need: Resources) -> int:
    """Return how many trials fit side by side, each on ``need.nodes`` nodes of its own."""
    rooms = [fits(node, need) for node in nodes]
    groups = sum(rooms) // need.nodes
    while groups and sum(min(room, groups) for room in rooms) < groups * need.nodes:
        groups -= 1
    return groups


def too_large(need: Resources, nodes: Sequence[Mapping[str, float]]) -> str:
    """Say that no node holds a trial, and what to do."""
    held = sorted(_amounts(*(node.get(name, 0) for name in HELD)) for node in nodes)
    return (
        f"a trial asks for {_amounts(need.cpus, need.gpus, need.memory)} on {need.nodes} node(s), "
        f"and the Ray cluster has too few nodes that large (the largest of {len(nodes)} has "
        f"{held[-1]}): ask for less (--cpus-per-trial, --gpus-per-trial, or what the proxy's "
        "resources(trial) says), or add such a node"
    )


def _amounts(cpus: float, gpus: float, memory: float) -> str:
    return f"{cpus:g} CPUs, {gpus:g} GPUs, {memory / MEGABYTE:.0f} MB"


def _memory(proxy: Proxy, trial: Trial) -> int:
    """Return host memory in bytes; powers of two, so that a cluster sees few kinds of trials."""
    params = proxy.size(trial.shape).params_total
    return 1 << math.ceil(math.log2(PROCESS_BYTES + BYTES_PER_PARAM * params))
