"""The GPUs of this machine, and which of them each worker of the local executor trains on.

    share = gpus_per_trial as asked; else 1, or GPUs / workers where more workers are asked for
    seats = GPUs * floor(1 / share) below one, GPUs // share above    (workers, if fewer are asked)

Shares of a GPU are dealt round robin, so that each device fills evenly. A worker sees its own alone
(CUDA_VISIBLE_DEVICES), as ``cuda:0``. A share of 0 is the CPU.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import takewhile

from planner.errors import UsageError
from planner.means import ExecutorChoice

VISIBLE = "CUDA_VISIBLE_DEVICES"

ANSWER_SECONDS = 60.0
"""How long a driver that wakes up, or the first import of torch, may take."""

_COUNT = "import torch; print(torch.cuda.device_count())"


def settled(choice: ExecutorChoice) -> ExecutorChoice:
    """Return the choice with the GPUs a trial takes here, and as many workers as there are seats.

    Unless the choice asks for GPUs itself, only those are taken that the installed torch can use; a
    sentence on stderr tells of the others. Raises UsageError when it asks for more than there are.
    """
    if choice.name != "local" or choice.gpus_per_trial == 0:
        return choice
    gpus = len(visible_gpus())
    if choice.gpus_per_trial is None and gpus:
        gpus = _usable(gpus)
    if choice.gpus_per_trial is None and not gpus:
        return choice
    share = choice.gpus_per_trial or min(1.0, gpus / (choice.workers or gpus))
    if share > gpus:
        raise UsageError(
            f"a trial asks for {share:g} GPUs, and this machine shows {gpus} (nvidia-smi, "
            f"{VISIBLE}): ask for fewer, or train on the CPU with --gpus-per-trial 0"
        )
    room = gpus * int(1 / share + 1e-9) if share < 1 else gpus // int(share)
    workers = min(room, choice.workers or room)
    return choice.model_copy(update={"workers": workers, "gpus_per_trial": share})


def seats(choice: ExecutorChoice) -> tuple[str, ...]:
    """Return what CUDA_VISIBLE_DEVICES says to each worker of a settled choice; () on the CPU."""
    if choice.name != "local" or not choice.gpus:
        return ()
    gpus, each = visible_gpus(), max(1, int(choice.gpus))
    groups = [",".join(gpus[i : i + each]) for i in range(0, len(gpus) - each + 1, each)]
    return tuple(groups[place % len(groups)] for place in range(choice.processes))


def visible_gpus() -> Sequence[str]:
    """Return the GPUs that CUDA would find here, as CUDA_VISIBLE_DEVICES names them."""
    there = _listed()
    named = os.environ.get(VISIBLE)
    if named is None:
        return there
    names = [name.strip() for name in named.split(",")]
    return tuple(takewhile(lambda name: name and name != "-1", names)) if there else ()


def _listed() -> tuple[str, ...]:
    """Return the numbers of the GPUs the driver lists."""
    if shutil.which("nvidia-smi") is None:
        return ()
    lines = _said("nvidia-smi", "-L").splitlines()
    return tuple(map(str, range(sum(line.startswith("GPU ") for line in lines))))


def _usable(gpus: int) -> int:
    """Return how many of the GPUs torch can use, and say on stderr if those are not all."""
    usable = min(gpus, _usable_by_torch(gpus))
    if usable < gpus:
        place = "those" if usable else "the CPU"
        told = (
            f"planner: torch can use {usable} of the GPUs here ({gpus} by nvidia-smi), so trials "
            f"train on {place}: install a torch that fits the driver, or ask with --gpus-per-trial "
            "1 for a trainer without torch (0: for the CPU)"
        )
        print(told, file=sys.stderr, flush=True)  # noqa: T201
    return usable


def _usable_by_torch(gpus: int) -> int:
    """Return how many GPUs torch can use; all, where it is not installed and nobody needs it."""
    if find_spec("torch") is None:
        return gpus
    said = _said(sys.executable, "-c", _COUNT).strip()
    return int(said) if said.isdigit() else 0


def _said(*command: str) -> str:
    """Return what a program prints; nothing where it fails or does not answer."""
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return told.stdout if told.returncode == 0 else ""
