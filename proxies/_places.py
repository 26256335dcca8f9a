"""Decides which shards a pattern means, here or at an fsspec URL, and how a piece of one is read.

A shard's name is what its address has beyond the folder all shards share, so that data may move.
Its fingerprint covers all of its bytes, or, where there are too many, its size and ``SAMPLES``
blocks spread evenly from its first byte to its last.
"""

from __future__ import annotations

import hashlib
import io
import os
import posixpath
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from planner.errors import DataError
from planner.proxies._sources import expand

TRIES, PAUSE_SECONDS = 4, 1.0
"""Attempts at a remote shard, and the pause before the second, doubled each time."""

SAMPLES, SAMPLE = 8, 2**16
"""Blocks of a sampled fingerprint, and the bytes of each."""

PIECE = 2**24
"""Bytes hashed at a time."""

BLOCK = 2**22
"""Bytes asked of a store at a time when a shard is read from the front."""

STAMPS = ("ETag", "etag", "md5Hash", "crc32c", "content_md5", "mtime", "LastModified", "updated")
"""Under what names file systems tell that a file changed, the surest first."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a shard lies: a path of this machine, or a URL."""

    url: str
    name: str
    size: int
    stamp: str
    """Changes when the shard does: the time of change, or what the store says (an ETag)."""

    @property
    def path(self) -> Path | None:
        """The file, where it lies on this machine."""
        return None if "://" in self.url else Path(self.url)

    def open(self) -> IO[bytes]:
        """Open it for reading from the front, or here and there. Raises DataError."""
        if self.path is not None:
            return _named(self.url, lambda: Path(self.url).open("rb"))
        return io.BufferedReader(_Remote(self), BLOCK)

    def read(self, start: int, stop: int) -> bytes:
        """Return bytes [start, stop) of it. Raises DataError, also when there are fewer."""
        if self.path is not None:
            with self.open() as file:
                file.seek(start)
                found = file.read(stop - start)
        else:
            fs, path = _file_system(self.url)
            found = again(self.url, lambda: cast(bytes, fs.cat_file(path, start=start, end=stop)))
        if len(found) != stop - start:
            raise DataError(
                f"{self.url} is cut short: it ends before byte {stop:,}; fetch or write it again"
            )
        return found

    def sibling(self, name: str) -> Place | None:
        """Return the file of that name in the same folder, if there is one."""
        folder, chained, rest = self.url.partition("::")
        url = posixpath.join(posixpath.dirname(folder), name) + chained + rest
        if self.path is not None:
            return next(_local(escape(url)), None) if Path(url).is_file() else None
        fs, path = _file_system(url)
        if not again(url, lambda: fs.exists(path)):
            return None
        return _described(url, again(url, lambda: fs.info(path)))

    def renamed(self, name: str) -> Place:
        """Return it under another name."""
        return replace(self, name=name)

    def download(self, target: Path) -> None:
        """Write all of it to a file of this machine."""
        fs, path = _file_system(self.url)
        again(self.url, lambda: fs.get_file(path, str(target)))


class _Remote(io.RawIOBase):
    """A shard at a URL as a file: every block is read again where the store fails for a moment."""

    def __init__(self, place: Place) -> None:
        self._place, self._at = place, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._place.size}[whence]
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable buffer
        stop = min(self._at + len(buffer), self._place.size)
        found = self._place.read(self._at, stop) if stop > self._at else b""
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)


def find(patterns: Sequence[str]) -> list[Place]:
    """Return the shards behind paths, globs and URLs, each once, in the order of their names.

    Raises DataError for a pattern nothing matches.
    """
    found: dict[str, Place] = {}
    for pattern in patterns:
        bare = pattern.removeprefix("file://")
        for place in _remote(bare) if "://" in bare else _local(bare):
            found[place.url] = place
    full = {url: url.partition("::")[0] for url in found}
    first, last = min(full.values()), max(full.values())  # what these two share, all share
    shared = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), None)
    folder = first[:shared].rfind("/") + 1
    named = (place.renamed(full[place.url][folder:]) for place in found.values())
    return sorted(named, key=lambda place: place.name)


def _local(pattern: str) -> Iterator[Place]:
    for path in expand([pattern]):
        status = path.stat()
        yield Place(str(path), path.name, status.st_size, str(status.st_mtime_ns))


def _remote(pattern: str) -> Iterator[Place]:
    fs, path = _file_system(pattern)
    known: dict[str, dict[str, Any]] = again(pattern, lambda: fs.glob(path, detail=True))
    files = {name: info for name, info in known.items() if info.get("type") != "directory"}
    if not files:
        raise DataError(
            f"no shard matches {pattern!r}: correct the URL or the pattern; `**` reaches into "
            "sub-folders"
        )
    for name, info in files.items():
        yield _described(_url(fs, name, pattern), info)


def _described(url: str, info: Mapping[str, Any]) -> Place:
    stamp = next((str(info[key]) for key in STAMPS if info.get(key)), "")
    return Place(url, posixpath.basename(url.partition("::")[0]), int(info["size"]), stamp)


def _url(fs: Any, name: str, pattern: str) -> str:  # noqa: ANN401 - fsspec is untyped
    """Return the address of a file that a pattern of chained file systems (``::``) found."""
    if "::" in pattern:
        protocol = pattern.split("://", 1)[0]
        return f"{protocol}://{name}::{pattern.split('::', 1)[1]}"
    return str(fs.unstrip_protocol(name))


def _file_system(url: str) -> tuple[Any, str]:
    import fsspec  # slow to import, and needed for URLs only

    try:
        fs, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise DataError(f"{url}: {error}") from error
    return fs, str(path)


def again(url: str, act: Callable[[], T]) -> T:
    """Do something at a URL that may fail for a moment; DataError when it keeps failing."""
    for tries in range(TRIES):
        try:
            return act()
        except FileNotFoundError:
            raise DataError(f"{url} is not there (any more): put it back, or correct it") from None
        except Exception as error:  # each store has errors of its own
            if tries == TRIES - 1:
                said = str(error).strip() or type(error).__name__
                raise DataError(
                    f"{url} cannot be read after {TRIES} attempts: {said.splitlines()[-1][:300]}"
                ) from error
            time.sleep(PAUSE_SECONDS * 2**tries)
    raise AssertionError


def _named(url: str, act: Callable[[], T]) -> T:
    try:
        return act()
    except OSError as error:
        raise DataError(f"{url} cannot be read: {error.strerror}") from error


def fingerprint(place: Place, *, whole: bool) -> str:
    """Return a hash of a shard that tells whether it changed, in so far as the module says."""
    digest = hashlib.sha256(f"{place.size} ".encode())
    if whole:
        spans = [(at, min(at + PIECE, place.size)) for at in range(0, place.size, PIECE)]
    else:
        last = max(0, place.size - SAMPLE)
        starts = sorted({last * i // (SAMPLES - 1) for i in range(SAMPLES)})
        spans = [(start, min(start + SAMPLE, place.size)) for start in starts]
    for start, stop in spans:
        digest.update(place.read(start, stop))
    return digest.hexdigest()[:32]
