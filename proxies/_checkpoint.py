"""A training state on disk, and where a trial starts from.

A state holds parameters, both moments, the step, what the divergence monitor remembers and the
reports so far. Training draws no random numbers after initialisation, and the data order is a
function of the seed and the position (step times batch), so the seed and the step are the whole
random state: a resumed run is the uninterrupted one bit for bit on CPU. Files appear by rename and
begin with a checksum: one that is damaged is never trained on. Loading runs no code.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import uuid
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

DIGEST = 32
"""Bytes of the SHA-256 a file begins with."""

HALF = ".half"
"""How the name of a file ends that is still being written."""


class _DamagedError(Exception):
    """A file is not what was saved."""


def resume_file(folder: Path) -> Path:
    """Return where a trial keeps the state it resumes from."""
    return folder / "resume.pt"


def previous_file(folder: Path) -> Path:
    """Return where the state before that one lies, for when that one is damaged."""
    return folder / "previous.pt"


def kept_file(folder: Path, tokens: int) -> Path:
    """Return where a trunk leaves its state at ``tokens`` for forks."""
    return folder / f"tokens-{tokens}.pt"


def save(path: Path, state: Mapping[str, Any], trial: Trial) -> None:
    """Write a state of tensors and plain values, with the path it belongs to.

    Raises OSError when the disk does not take it; what was there before is untouched.
    """
    buffer = io.BytesIO()
    torch.save({**state, "path": _path(trial)}, buffer)
    content = buffer.getbuffer()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}{HALF}")
    try:
        with partial.open("wb") as file:
            file.write(hashlib.sha256(content).digest())
            file.write(content)
        if path == resume_file(path.parent) and path.exists():
            path.replace(previous_file(path.parent))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def forget(folder: Path) -> None:
    """Remove what only a restart of the trial would need."""
    for path in (resume_file(folder), previous_file(folder)):
        path.unlink(missing_ok=True)


def load_start(
    trial: Trial, folder: Path, parent: Path | None, device: str
) -> tuple[Mapping[str, Any] | None, str]:
    """Return the state a trial starts from and a note on damage met on the way.

    The state is its own newest whole one, else its trunk's at ``fork_at``, else None. Raises
    UsageError when a fork has no whole trunk state, or the state is another path's.
    """
    for half in folder.glob(f".*{HALF}"):
        half.unlink(missing_ok=True)
    damage = ""
    for path in (resume_file(folder), previous_file(folder)):
        try:
            state = _read(path, trial, device)
        except _DamagedError as error:
            damage = damage or f"the saved state {path.name} was damaged ({error})"
            path.unlink(missing_ok=True)  # or the next save would keep it in place of a whole one
        else:
            if state is not None:
                at = f"; went on from the one before it, at step {state['step']:,}"
                return state, damage and damage + at
    if damage:
        damage += "; began anew"
    if trial.parent is None:
        return None, damage
    return _trunk_state(trial, kept_file(parent or folder, trial.fork_at), device), damage


def _trunk_state(trial: Trial, path: Path, device: str) -> Mapping[str, Any]:
    try:
        state = _read(path, trial, device)
    except _DamagedError as error:
        raise UsageError(
            f"the trunk's state {path} is damaged ({error}), and the fork of {trial.parent} at "
            f"{trial.fork_at:,} tokens has no other start: train the trunk again in a new study"
        ) from None
    if state is None:
        raise UsageError(
            f"the fork of {trial.parent} at {trial.fork_at:,} tokens finds no {path.name} in the "
            "trunk's folder: train the trunk with that count in keep_at"
        )
    return state


def _read(path: Path, trial: Trial, device: str) -> Mapping[str, Any] | None:
    """Read a state; None where there is none. Raises _DamagedError, UsageError."""
    try:
        content = memoryview(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _DamagedError(error.strerror) from error
    if hashlib.sha256(content[DIGEST:]).digest() != content[:DIGEST]:
        raise _DamagedError("its checksum does not fit its content")
    try:
        held = io.BytesIO(content[DIGEST:])
        state: Mapping[str, Any] = torch.load(held, map_location=device, weights_only=True)
        belongs = state["path"] == _path(trial)
    except (RuntimeError, EOFError, LookupError, TypeError, pickle.UnpicklingError) as error:
        raise _DamagedError("it holds no training state") from error
    if not belongs:
        raise UsageError(
            f"the checkpoint {path} was left by another path ({state['path']}) than this trial's "
            f"({_path(trial)}): remove it, or give the trial its own folder"
        )
    return state


def _path(trial: Trial) -> dict[str, Any]:
    shape = {name: trial.shape[name] for name in sorted(trial.shape)}
    return {"shape": shape} | {name: getattr(trial, name) for name in SAME_PATH}
