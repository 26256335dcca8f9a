"""Files of a study that survive a crash: an append-only log, whole files by rename, and a lock.

A line counts once it is complete, flushed and (if durable) on the disk; a write that fails is taken
back. A log therefore has at most one kind of honest damage, a cut last line; everything else was
not done by a crash and is refused. Numbers that JSON cannot write are the strings ``"nan"``,
``"inf"`` and ``"-inf"``, which ``float()`` reads back.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from errno import EINVAL, ENOLCK, ENOSYS, ENOTSUP, EOPNOTSUPP, ESTALE
from pathlib import Path
from typing import Any, TypeAlias

from planner.errors import LedgerError, StudyLockedError

SCHEMA_VERSION = 1
"""Of events.jsonl; its first line states it. Fields that were added later are optional."""

WITHOUT_LOCKS = (ENOLCK, ENOTSUP, EOPNOTSUPP, ENOSYS, EINVAL)
"""What a shared file system answers that cannot lock files."""

_DECODER = json.JSONDecoder()

_Apply: TypeAlias = Callable[[dict[str, Any]], None]


def encode_line(data: dict[str, Any]) -> str:
    """Return plain data as one line of valid JSON."""
    return json.dumps(_finite(data), separators=(",", ":"), allow_nan=False) + "\n"


def _finite(value: Any) -> Any:  # noqa: ANN401 (plain data of any depth)
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(float(value))
    return value


def fold_log(
    path: Path,
    apply: _Apply,
    *,
    later: Callable[[bytes], bool] | None = None,
    decoder: json.JSONDecoder = _DECODER,
) -> tuple[int, bytes]:
    """Hand every whole line's event to ``apply``, in order and one at a time.

    ``later`` may take a line of progress undecoded by returning True. Returns the lines' number and
    what is left of a cut last line (empty if none is cut). Raises LedgerError with file and line
    number when a whole line is not the event it should be, or when ``apply`` cannot read it
    (KeyError, TypeError, ValueError, AttributeError).
    """
    number = 0
    with path.open("rb") as log:
        for line in log:
            if not line.endswith(b"\n"):
                return number, line
            number += 1
            if later and line.startswith(b'{"n":%d,"event":"progress",' % number) and later(line):
                continue
            event = _decode(decoder, path, number, line)
            if number == 1:
                _check_version(path, event)
            try:
                apply(event)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                what = f"its {event['event']} event cannot be read ({error!r})"
                raise damaged(path, number, what) from error
    return number, b""


def _check_version(path: Path, first: dict[str, Any]) -> None:
    version = first.get("schema_version")
    if first["event"] != "study" or not isinstance(version, int):
        raise damaged(path, 1, "it is not the `study` line every log begins with")
    if version > SCHEMA_VERSION:
        raise LedgerError(
            f"{path} was written by a newer planner (format {version}; this one reads up to "
            f"{SCHEMA_VERSION}): update planner, or sweep into a new folder"
        )


def _decode(decoder: json.JSONDecoder, path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        text = line.decode()
        event, end = decoder.raw_decode(text)
        if text[end:].strip():
            raise ValueError("more than one value")
    except (ValueError, RecursionError) as error:
        raise damaged(path, number, "it is not JSON") from error
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        raise damaged(path, number, "it is not an event")
    if event.get("n") != number:
        raise damaged(path, number, f"it is numbered {event.get('n')}, so lines are missing")
    return event


def damaged(path: Path, number: int, what: str) -> LedgerError:
    """Return the error for damage that no crash explains."""
    return LedgerError(
        f"{path}, line {number} is damaged: {what}. Only a cut last line can be repaired; put the "
        "file back from a copy, or sweep into a new folder"
    )


def append_line(path: Path, line: str, *, durable: bool) -> None:
    """Append a line; when that fails the file is as it was, and LedgerError says why."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError as error:
        raise unwritable(path, error) from error
    size = os.fstat(file).st_size
    try:
        rest = line.encode()
        while rest:
            rest = rest[os.write(file, rest) :]
        if durable:
            os.fsync(file)
    except OSError as error:
        with suppress(OSError):
            os.ftruncate(file, size)
        raise unwritable(path, error) from error
    finally:
        os.close(file)


def replace_file(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Write a whole file; it appears complete, by rename, or not at all (LedgerError)."""
    parts = [content] if isinstance(content, bytes) else content
    half = path.with_name(f".{path.name}.half")
    try:
        with half.open("wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
    except OSError as error:
        half.unlink(missing_ok=True)
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> LedgerError:
    """Return the error for a disk that is full, read-only or gone."""
    stale = " (its file server has lost it: mount it again)" if error.errno == ESTALE else ""
    return LedgerError(
        f"{path} cannot be written: {error.strerror or error}{stale}. Nothing half written counts "
        "and nothing recorded is lost: make room or fix the folder, then run the same line again"
    )


def take_lock(path: Path) -> int:
    """Lock a study and return the open file that holds the lock; the kernel frees it at our end.

    Raises StudyLockedError naming the process that holds it, LedgerError where the file system
    knows no locks.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(file, 200).decode(errors="replace").strip() or "of unknown number"
        os.close(file)
        raise StudyLockedError(
            f"another process ({holder}) works on the study {path.parent}: wait until it has "
            "ended, stop it, or choose another --out"
        ) from None
    except OSError as error:
        os.close(file)
        if error.errno not in WITHOUT_LOCKS:
            raise
        raise LedgerError(
            f"{path.parent} lies on a file system without locks ({error.strerror}), where a second "
            "sweep could write the same log: choose an --out on a disk of this machine; the states "
            "of trials may lie elsewhere, at a URL (`checkpoints`)"
        ) from error
    os.ftruncate(file, 0)
    os.write(file, f"pid {os.getpid()} on {socket.gethostname()}\n".encode())
    return file
