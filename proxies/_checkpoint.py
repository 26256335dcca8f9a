"""A training state on disk, and where a trial starts from.

A state holds parameters, both moments, the step and what the divergence monitor remembers. Training
draws no random numbers after initialisation, and the data order is a function of the seed and the
position (step times batch), so the seed and the step are the whole random state: a resumed run is
the uninterrupted one bit for bit on CPU. Files appear by rename.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from planner.errors import UsageError
from planner.run import Trial

SAME_PATH = (
    "batch_tokens",
    "lr",
    "warmup_tokens",
    "weight_decay",
    "beta1",
    "beta2",
    "clip",
    "seed",
)
"""What a fork shares with its trunk, besides the shape."""


def resume_file(folder: Path) -> Path:
    """Return where a trial keeps the state it resumes from."""
    return folder / "resume.pt"


def kept_file(folder: Path, tokens: int) -> Path:
    """Return where a trunk leaves its state at ``tokens`` for forks."""
    return folder / f"tokens-{tokens}.pt"


def save(path: Path, state: Mapping[str, Any], trial: Trial) -> None:
    """Write a state of tensors and plain values, with the path it belongs to."""
    buffer = io.BytesIO()
    torch.save({**state, "path": _path(trial)}, buffer)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        partial.write_bytes(buffer.getbuffer())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load_start(
    trial: Trial, folder: Path, parent: Path | None, device: str
) -> Mapping[str, Any] | None:
    """Return the state a trial starts from: its own, its trunk's at ``fork_at``, or None.

    Raises UsageError when a fork has no trunk state, or the state is another path's.
    """
    path = resume_file(folder)
    if not path.exists():
        if trial.parent is None:
            return None
        path = kept_file(parent or folder, trial.fork_at)
    if not path.exists():
        raise UsageError(
            f"the fork of {trial.parent} at {trial.fork_at:,} tokens finds no {path.name} in the "
            "trunk's folder: train the trunk with that count in keep_at"
        )
    state: Mapping[str, Any] = torch.load(path, map_location=device, weights_only=True)
    if state["path"] != _path(trial):
        raise UsageError(
            f"the checkpoint {path} was left by another path ({state['path']}) than this trial's "
            f"({_path(trial)}): remove it, or give the trial its own folder"
        )
    return state


def _path(trial: Trial) -> dict[str, Any]:
    shape = {name: trial.shape[name] for name in sorted(trial.shape)}
    return {"shape": shape} | {name: getattr(trial, name) for name in SAME_PATH}
