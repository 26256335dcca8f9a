"""Decides which documents are training text and which are held out, before anything else is done.

Text comes in units that must not be torn apart: packages of Python source, or files. Units go to
validation in the order of the hash of their name until they hold ``SHARE`` of the bytes; a unit
larger than ``LARGEST`` of all (or the mean) is passed over, so that many make validation. Less than
``FEW_FILES`` files are split inside: the tail of each plain text, one in ten documents of the rest.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from glob import glob
from itertools import zip_longest
from pathlib import Path
from typing import Any

from planner.errors import DataError
from planner.proxies._documents import PIECE, check_kind, holds_records, read_piece, read_records

SHARE = 0.1
LARGEST = 0.02
FEW_FILES = 20
OPEN_FILES = 16
"""Record files read in turn at one time."""


@dataclass(frozen=True, slots=True)
class Split:
    """Documents to train on and documents held out, read as they are asked for."""

    train: Iterable[bytes]
    validation: Iterable[bytes]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TextSource:
    """Text that can be split, and what tells whether it changed (cheap, nothing is read)."""

    identity: Any
    """Plain data that changes when the text may have changed."""

    split: Callable[[], Split]


def held_out_units(sizes: Mapping[str, int]) -> frozenset[str]:
    """Choose the units (name -> bytes) that become validation."""
    total = sum(sizes.values())
    largest = total * max(LARGEST, 1 / len(sizes))
    chosen: list[str] = []
    held = 0
    for name in sorted(sizes, key=_name_hash):
        if held >= SHARE * total:
            break
        if sizes[name] <= largest:
            chosen.append(name)
            held += sizes[name]
    return frozenset(chosen)


def file_source(files: Sequence[str], validation: Sequence[str], field: str) -> TextSource:
    """Return the user's own text; ``files`` and ``validation`` are paths or globs."""
    train_paths, held_paths = expand(files), expand(validation)
    held = frozenset(held_paths)
    train_paths = [path for path in train_paths if path not in held]
    if not train_paths:
        raise DataError("every training file is also named under `validation:`; nothing is left")
    for path in (*train_paths, *held_paths):
        check_kind(path)
    return TextSource(
        [identify(path) for path in (*train_paths, *held_paths)],
        partial(_split_files, train_paths, held_paths, field),
    )


def expand(patterns: Sequence[str]) -> list[Path]:
    """Return the files behind paths and globs, each once, sorted; DataError for an empty one."""
    found: set[Path] = set()
    for pattern in patterns:
        matches = [Path(p) for p in glob(os.path.expanduser(pattern), recursive=True)]
        matched = {path.resolve() for path in matches if path.is_file()}
        if not matched:
            raise DataError(
                f"no file matches {pattern!r} (looked from {Path.cwd()}): correct the path or the "
                "pattern; `**` reaches into sub-folders"
            )
        found |= matched
    return sorted(found)


def identify(path: Path) -> tuple[str, int, int]:
    """Return path, size and time of change: what tells a cached corpus that a file changed."""
    status = path.stat()
    return str(path), status.st_size, status.st_mtime_ns


def _split_files(paths: list[Path], held: list[Path], field: str) -> Split:
    if held:
        note = f"validation is the {len(held)} file(s) named under `validation:`"
    elif len(paths) >= FEW_FILES:
        paths, held = _whole_files(paths)
        note = f"split by file: {len(held)} of {len(paths) + len(held)} are validation"
    else:
        note = "few files, so split inside: the last tenth of plain texts, else 1 document in 10"
        train, tail = (_inside(paths, field, held_out=side) for side in (False, True))
        return Split(train, tail, (note,))
    return Split(_read(paths, field), _read(held, field), (note,))


def _whole_files(paths: list[Path]) -> tuple[list[Path], list[Path]]:
    root = Path(os.path.commonpath(paths))
    sizes = {path.relative_to(root).as_posix(): path.stat().st_size for path in paths}
    chosen = held_out_units(sizes)
    held = [path for path in paths if path.relative_to(root).as_posix() in chosen]
    return [path for path in paths if path not in held], held


def _read(paths: list[Path], field: str) -> Iterator[bytes]:
    yield from _pieces(paths, 0, 1)
    yield from _records(paths, field)


def _inside(paths: list[Path], field: str, *, held_out: bool) -> Iterator[bytes]:
    """Yield one side of a split that runs through the files."""
    yield from _pieces(paths, *((1 - SHARE, 1) if held_out else (0, 1 - SHARE)))
    texts = _records(paths, field)
    yield from (text for text in texts if _in_held_tenth(text) == held_out)


def _pieces(paths: list[Path], low: float, high: float) -> Iterator[bytes]:
    """Yield the part [low, high) of plain texts, piece by piece in a hashed order."""
    spans: list[tuple[Path, int, int]] = []
    for path in (path for path in paths if not holds_records(path)):
        size = path.stat().st_size
        start, stop = int(low * size), int(high * size)
        spans += [(path, at, min(at + PIECE, stop)) for at in range(start, stop, PIECE)]
    for path, start, stop in sorted(spans, key=lambda s: _name_hash(f"{s[0].name} {s[1]}")):
        yield read_piece(path, start, stop)


def _records(paths: list[Path], field: str) -> Iterator[bytes]:
    """Yield the documents of record files in turn, from up to ``OPEN_FILES`` at a time."""
    files = sorted((p for p in paths if holds_records(p)), key=lambda p: _name_hash(p.name))
    for first in range(0, len(files), OPEN_FILES):
        readers = [read_records(path, field) for path in files[first : first + OPEN_FILES]]
        for row in zip_longest(*readers):
            yield from (text for text in row if text is not None)


def _in_held_tenth(text: bytes) -> bool:
    return int.from_bytes(hashlib.sha256(text).digest()[:8]) < SHARE * 2**64


def _name_hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
