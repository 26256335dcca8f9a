"""Starter search spaces: copied from the shipped ones for ``init``, made up to check a proxy."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from planner.errors import UsageError
from planner.space import SearchSpace, load_space


def write_starter(file: Path, proxy: str, command: str | None) -> None:
    """Write a search space to edit. Raises UsageError rather than overwrite a file."""
    if file.exists():
        raise UsageError(f"{file} exists; name another file, or remove it first")
    folder = files("planner") / "search_spaces"
    name = "command" if command is not None else proxy
    source = folder / f"{name}.yaml"
    if not source.is_file():
        known = sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir())
        raise UsageError(f"there is no starter for {name!r}; there is: {', '.join(known)}")
    text = source.read_text()
    if command is not None:
        text = _with_command(text, command)
    file.write_text(text)


def _with_command(text: str, command: str) -> str:
    """Put the user's command line in place of the starter's ``argv``, word by word."""
    words = ", ".join(f"'{word.replace(chr(39), chr(39) * 2)}'" for word in shlex.split(command))
    start = text.index("argv: [")
    end = text.index("]", start) + 1
    return f"{text[:start]}argv: [{words}]{text[end:]}"


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
