"""Starter search spaces: the shipped ones, one drafted from a command, one to check a proxy on."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from planner._draft import drafted_space
from planner.errors import UsageError
from planner.space import SearchSpace, load_space


def write_starter(file: Path, proxy: str, command: str | None) -> None:
    """Write a search space to edit, drafted from a ``command`` if there is one.

    Raises UsageError rather than overwrite a file.
    """
    if file.exists():
        raise UsageError(f"{file} exists; name another file, or remove it first")
    if command is not None:
        file.write_text(drafted_space(command), encoding="utf-8")
        return
    folder = files("planner") / "search_spaces"
    source = folder / f"{proxy}.yaml"
    if not source.is_file():
        known = sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir())
        raise UsageError(f"there is no starter for {proxy!r}; there is: {', '.join(known)}")
    file.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")


ANY_PROXY = """
sizes: {params: [10000, 20000]}
lr: {log: [1.0e-3, 6.4e-2], factor: 2}
batch_tokens: {log: [256, 4096], factor: 4}
budget: {flops: 1e13}
"""
"""What a proxy is checked on that comes without a search space: a black box of stated sizes."""


def space_for_proxy(proxy: str, file: Path | None, overrides: Sequence[str]) -> SearchSpace:
    """Return the space of ``file`` with another proxy; without one a shipped starter or ANY_PROXY.

    Raises SpaceError, which names the key to set.
    """
    shipped = files("planner") / "search_spaces" / f"{proxy}.yaml"
    chosen = [f"proxy.name={proxy}", *overrides]
    if file is not None:
        return load_space(file, chosen)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "check.yaml"
        path.write_text(shipped.read_text() if shipped.is_file() else ANY_PROXY)
        return load_space(path, chosen)
