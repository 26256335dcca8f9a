"""Damaged checkpoints of the gpt proxy, and pickles that would run code."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import random
import tempfile
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import torch

from planner.proxies import _checkpoint
from planner.run import Trial
from tests.benchmarks.fuzz_bytes import damaged_bytes

TRIAL = Trial("ladder", {"width": 16, "depth": 2}, 4096, 128, 0.01, 128)
FORK = Trial("ladder", {"width": 16, "depth": 2}, 4096, 128, 0.01, 128, parent="p", fork_at=2048)
TENSORS = ("flat", "m", "v")


def state() -> dict[str, Any]:
    """Return a state such as a training leaves."""
    torch.manual_seed(0)
    tensors = {name: torch.randn(300) for name in TENSORS}
    return {**tensors, "step": 16, "monitor": {"first": 5.0, "lowest": 4.0, "above": 0}}


class Bomb:
    """Runs a command where it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.folder}/ran",)


@cache
def good() -> bytes:
    """Return the bytes of a good checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        path = _checkpoint.resume_file(Path(folder))
        _checkpoint.save(path, state(), TRIAL)
        return path.read_bytes()


def checkpoint_case(draw: random.Random, folder: Path) -> str:
    """Damage a state: it must be refused, or be the state that was saved."""
    fork = draw.random() < 0.5
    path = _checkpoint.kept_file(folder, 2048) if fork else _checkpoint.resume_file(folder)
    path.write_bytes(_bomb(draw, folder) if draw.random() < 0.2 else damaged_bytes(draw, good()))
    try:
        found, _ = _checkpoint.load_start(FORK if fork else TRIAL, folder, folder, "cpu")
    finally:
        assert not (folder / "ran").exists(), "code from the checkpoint ran"
    if found is None:
        return "begun again"
    kept = state()
    for name, value in kept.items():
        same = torch.equal(found[name], value) if name in TENSORS else found[name] == value
        assert same, "silently wrong"
    return "unchanged"


def _bomb(draw: random.Random, folder: Path) -> bytes:
    """Return a file with a pickle that runs code, mostly under a checksum that holds."""
    content = _pickled(draw, folder)
    return hashlib.sha256(content).digest() + content if draw.random() < 0.8 else content


def _pickled(draw: random.Random, folder: Path) -> bytes:
    """Return a pickle that runs code, bare or inside what torch writes."""
    if draw.random() < 0.5:
        return pickle.dumps(Bomb(folder), protocol=draw.choice((0, 2, 4)))
    content = io.BytesIO()
    if draw.random() < 0.5:
        torch.save({"flat": Bomb(folder)}, content)
        return content.getvalue()
    whole = io.BytesIO(good()[_checkpoint.DIGEST :])
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(content, "w") as new:
        for item in old.infolist():
            bad = item.filename.endswith("data.pkl")
            new.writestr(item.filename, pickle.dumps(Bomb(folder)) if bad else old.read(item))
    return content.getvalue()
