"""``planner init``: a starter search space, copied from the shipped ones."""

from __future__ import annotations

import shlex
from importlib.resources import files
from pathlib import Path

from planner.errors import UsageError


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
