"""Decides which remote shards are kept on this machine, and for how long.

A shard is fetched whole when it is first read, checked (its size, its fingerprint) and put in its
place by rename; all trials of the machine share it. When the folder would hold more than its limit,
the shards not opened for longest go first; one that is open stays readable until it is closed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from planner.errors import DataError
from planner.proxies._places import Place


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make ``folder`` and be the only process in it; the kernel frees the lock of one that dies."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w")
    except OSError as error:
        raise DataError(f"data cannot be kept in {folder}: {error}") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def check_room(folder: Path, size: int) -> None:
    """Raise DataError when the disk under ``folder`` has no ``size`` bytes left."""
    if (free := shutil.disk_usage(folder).free) < size:
        raise DataError(
            f"the disk of {folder} has {free / 1e9:,.1f} GB left and {size / 1e9:,.1f} GB are "
            "needed: make room, or name another folder in PLANNER_CACHE"
        )


@dataclass(frozen=True, slots=True)
class ShardCache:
    """A folder of fetched shards that holds at most ``limit`` bytes."""

    folder: Path
    limit: int

    def open(self, place: Place, check: Callable[[Place], None]) -> int:
        """Return an open descriptor of a shard, fetched if need be.

        ``check`` is given the shard where it lies on this machine before it is used the first time,
        and raises DataError for one that is not what it was.
        """
        if place.path is not None:
            return _open_local(place)
        known = f"{place.url} {place.size} {place.stamp}"
        path = self.folder / hashlib.sha256(known.encode()).hexdigest()[:24]
        while True:
            if not path.exists():
                self._fetch(place, path, check)
            try:
                os.utime(path)
                return os.open(path, os.O_RDONLY)
            except FileNotFoundError:  # another trial made room in this very moment
                continue

    def _fetch(self, place: Place, path: Path, check: Callable[[Place], None]) -> None:
        with locked(self.folder):
            if path.exists():  # another trial was first
                return
            self._make_room(place)
            part = self.folder / ".part"
            place.download(part)
            here = replace(place, url=str(part))
            if part.stat().st_size != place.size:
                raise DataError(
                    f"{place.url} is damaged: {part.stat().st_size:,} bytes came of "
                    f"{place.size:,}; put a whole shard there"
                )
            check(here)
            part.replace(path)

    def _make_room(self, place: Place) -> None:
        if place.size > self.limit:
            raise DataError(
                f"{place.url} has {place.size / 1e9:,.2f} GB, more than the cache may hold "
                f"({self.limit / 1e9:,.2f} GB): raise `cache:`, or cut smaller shards"
            )
        held = [path for path in self.folder.iterdir() if not path.name.startswith(".")]
        held.sort(key=lambda path: path.stat().st_mtime_ns)
        total = sum(path.stat().st_size for path in held)
        for path in held:
            if total + place.size <= self.limit:
                break
            total -= path.stat().st_size
            path.unlink()
        check_room(self.folder, place.size)


def _open_local(place: Place) -> int:
    try:
        descriptor = os.open(place.url, os.O_RDONLY)
    except OSError as error:
        raise DataError(f"the shard {place.url} cannot be read: {error.strerror}") from error
    if os.fstat(descriptor).st_size != place.size:
        os.close(descriptor)
        raise DataError(
            f"the shard {place.url} changed while it was in use: it had {place.size:,} bytes; put "
            "the old one back, or start a new study"
        )
    return descriptor
