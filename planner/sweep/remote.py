"""A trial's folder kept at an fsspec URL as well, for workers that share no disk.

    URL/manifest.json       {file: object} of one moment of the folder, written last, by rename
    URL/<digest>-<file>     the objects: a SHA-256 and the content it must have

An upload that is cut leaves the old manifest in force, and an object that is not what its name says
is left out: what is fetched is a moment of the folder, or less of one, and never something else.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"

TRIES, PAUSE_SECONDS = 3, 1.0
"""Attempts at a transfer, and the pause after the first, which doubles: networks have hiccups."""

STORE_SHARE = 0.05
"""The share of a trial's time that storing may take."""


class RemoteError(Exception):
    """The URL cannot be reached, or does not take what is stored."""


class RemoteFolder:
    """The copy at ``url`` of one folder; only files that do not begin with a dot count."""

    def __init__(self, folder: Path, url: str) -> None:
        import fsspec

        self.folder, self.url = folder, url
        with _told(url):
            self._fs, root = fsspec.core.url_to_fs(url)
        self._root = str(root).rstrip("/")
        self._stored: dict[str, tuple[int, int]] = {}
        self._objects: dict[str, str] = {}
        self._next = 0.0

    def fetch(self, wanted: Callable[[str], bool] = lambda name: True) -> None:
        """Make the folder what was last stored of the wanted files; without any, empty."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        for name, held in self._manifest().items():
            if wanted(name):
                self._fetch_file(name, held)
        self._stored = self._files()

    def store_if_due(self) -> None:
        """Store the folder if it has changed, unless storing would take too much of the time.

        A URL that cannot be reached costs only safety here: the next time is as good.
        """
        if time.monotonic() < self._next or self._files() == self._stored:
            return
        began = time.monotonic()
        with suppress(RemoteError, FileNotFoundError):
            self.store()
        took = time.monotonic() - began
        self._next = time.monotonic() + took / STORE_SHARE

    def store(self) -> None:
        """Store the folder as it is, if it has changed. Raises RemoteError."""
        files = self._files()
        if files == self._stored:
            return
        objects = {}
        for name, state in files.items():
            if self._stored.get(name) == state and name in self._objects:
                objects[name] = self._objects[name]
            else:
                objects[name] = self._put(name)
        half = f"{self._root}/.{uuid.uuid4().hex}"
        self._again(lambda: self._fs.makedirs(self._root, exist_ok=True))
        self._again(lambda: self._fs.pipe_file(half, json.dumps(objects).encode()))
        self._again(lambda: self._fs.mv(half, f"{self._root}/{MANIFEST}"))
        self._stored, self._objects = files, objects
        self._drop_others(set(objects.values()))

    def remove(self) -> None:
        """Remove the copy. Raises RemoteError."""
        if self._again(lambda: self._fs.exists(self._root)):
            self._again(lambda: self._fs.rm(self._root, recursive=True))

    def names(self) -> list[str]:
        """Return what lies directly under the URL. Raises RemoteError."""
        self._fs.invalidate_cache()
        try:
            found = self._again(lambda: self._fs.ls(self._root, detail=False))
        except FileNotFoundError:
            return []
        return [str(path).rstrip("/").rpartition("/")[2] for path in found]

    def _manifest(self) -> dict[str, str]:
        self._fs.invalidate_cache()
        try:
            text = self._again(lambda: self._fs.cat_file(f"{self._root}/{MANIFEST}"))
            held = json.loads(text)
        except (FileNotFoundError, ValueError):
            return {}
        return held if isinstance(held, dict) else {}

    def _fetch_file(self, name: str, held: str) -> None:
        place = (self.folder / name).resolve()
        if not place.is_relative_to(self.folder.resolve()) or "/" in held:
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        half = place.with_name(f".{place.name}.half")
        try:
            self._again(lambda: self._fs.get_file(f"{self._root}/{held}", str(half)))
        except FileNotFoundError:
            return
        if _digest(half) == held.partition("-")[0]:
            half.replace(place)
            self._objects[name] = held
        half.unlink(missing_ok=True)

    def _put(self, name: str) -> str:
        path = self.folder / name
        try:
            held = f"{_digest(path)}-{path.name}"
            self._again(lambda: self._fs.makedirs(self._root, exist_ok=True))
            self._again(lambda: self._fs.put_file(str(path), f"{self._root}/{held}"))
        except FileNotFoundError as error:
            raise RemoteError(f"{path} went while it was stored") from error
        return held

    def _drop_others(self, objects: set[str]) -> None:
        with suppress(RemoteError, FileNotFoundError):
            for name in set(self.names()) - objects - {MANIFEST}:
                self._again(partial(self._fs.rm_file, f"{self._root}/{name}"))

    def _files(self) -> dict[str, tuple[int, int]]:
        """Return each file's time of change and size."""
        found = {}
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                state = path.stat()
                found[str(path.relative_to(self.folder))] = (state.st_mtime_ns, state.st_size)
        return found

    def _again(self, act: Callable[[], Any]) -> Any:  # noqa: ANN401 - fsspec is untyped
        for tries in range(TRIES - 1):
            try:
                return act()
            except FileNotFoundError:
                raise
            except Exception:  # each store has errors of its own
                time.sleep(PAUSE_SECONDS * 2**tries)
        with _told(self.url):
            return act()


def at_fork(tokens: int) -> Callable[[str], bool]:
    """Return what tells the files a fork at ``tokens`` may need from other states of its trunk.

    A trunk's states are megabytes each. A name that holds the number of another state, and not this
    one's, as in ``tokens-4096.pt``, is such a state.
    """

    def wanted(name: str) -> bool:
        numbered = re.findall(r"(?<![0-9])tokens-([0-9]+)(?![0-9])", name)
        return not numbered or str(tokens) in numbered

    return wanted


@contextmanager
def _told(url: str) -> Iterator[None]:
    """Turn whatever a store raises into one error that names the URL."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        said = str(error).strip() or type(error).__name__
        raise RemoteError(f"{url}: {said.splitlines()[-1][:300]}") from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
