"""Decides how windows of sharded tokens are read: at their place, one by one, nothing kept.

Windows are cut within a shard (``context + 1`` tokens at a stride of ``context``). They are read
with ``pread``, not through a memory map: a map's pages count as the process's memory and would grow
with all it ever touched. A :class:`Stream` holds ``OPEN_SHARDS`` files open, whatever the size of
the data; :class:`ReadAhead` reads what comes next while the current batch is trained on.
"""

from __future__ import annotations

import hashlib
import json
import os
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from planner.errors import DataError
from planner.proxies._fetch import ShardCache
from planner.proxies._order import Ints
from planner.proxies._places import Place
from planner.proxies._shards import TokenShard

OPEN_SHARDS = 256

Draw = Callable[[int, int], npt.NDArray[np.int64]]
"""(first window, count) -> (count, context + 1) tokens."""

BLOCK = 64
"""Windows read at a time, for as many steps as they last."""

FORETELLS = hasattr(os, "posix_fadvise")
"""Whether the system can be told what will be read next."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The training windows: the first ``counts[i]`` of shard i, shuffled within ``reach``."""

    shards: tuple[TokenShard, ...]
    counts: tuple[int, ...]
    context: int
    reach: int | None
    """Windows shuffled together; None: all of them."""

    @property
    def content_hash(self) -> str:
        """A hash of what is trained on and how it is ordered, after what the fingerprints cover."""
        content = [(shard.dtype, shard.print) for shard in self.shards]
        told = json.dumps([content, self.counts, self.context, self.reach])
        covers = "whole" if all(shard.whole for shard in self.shards) else "sampled"
        return f"{covers}-{hashlib.sha256(told.encode()).hexdigest()[:16]}"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Selection:
        """Return what :meth:`to_json` wrote."""
        shards = tuple(
            TokenShard(**{**shard, "place": Place(**shard["place"])}) for shard in told["shards"]
        )
        return cls(shards, tuple(told["counts"]), told["context"], told["reach"])


class Stream:
    """Windows of a selection, read as they are asked for; may be asked by several threads."""

    def __init__(self, selection: Selection, vocab: int, cache: ShardCache) -> None:
        self.selection, self.vocab, self.cache = selection, vocab, cache
        self.counts: Ints = np.array(selection.counts, dtype=np.int64)
        self._open: OrderedDict[int, int] = OrderedDict()
        self._lock = Lock()
        weakref.finalize(self, _close_all, self._open)

    def __len__(self) -> int:
        """Return the number of distinct windows."""
        return int(self.counts.sum())

    def read(self, shards: Ints, windows: Ints) -> npt.NDArray[np.int64]:
        """Return (n, context + 1) tokens: window ``windows[i]`` of shard ``shards[i]``.

        Raises DataError for a shard that is gone, damaged or changed, or an id out of vocabulary.
        """
        context, first = self.selection.context, self.selection.shards[0]
        taken = np.empty((len(shards), context + 1), dtype=first.dtype)
        wanted = list(zip(shards.tolist(), windows.tolist(), strict=True))
        with self._lock:
            for shard, window in wanted if FORETELLS else ():  # the disk works on all at once
                os.posix_fadvise(*self._span(shard, window), os.POSIX_FADV_WILLNEED)
            for row, (shard, window) in zip(taken, wanted, strict=True):
                self._read_into(row, shard, window)
        tokens = taken.astype(np.int64)
        wrong = np.flatnonzero((tokens.min(1) < 0) | (tokens.max(1) >= self.vocab))
        if len(wrong):
            shard = self.selection.shards[int(shards[wrong[0]])]
            raise DataError(
                f"{shard.place.url} holds token id {int(tokens[wrong[0]].max())} in its window "
                f"{int(windows[wrong[0]]):,}, outside the vocabulary of {self.vocab:,}: it comes "
                "from another tokenizer, or `vocab:` or `dtype:` is wrong"
            )
        return tokens

    def fetch(self, number: int) -> None:
        """Bring a shard onto this machine, behind whatever is read just now. Raises DataError."""
        shard = self.selection.shards[number]
        with self._lock:  # a reader that waits for a shard of its own goes first
            pass
        os.close(self.cache.open(shard.place, shard.check))

    def close(self, shards: Ints) -> None:
        """Close shards that will not be read for long; they are opened again when they are."""
        with self._lock:
            for number in set(shards.tolist()) & set(self._open):
                os.close(self._open.pop(number))

    def _read_into(self, row: npt.NDArray[Any], number: int, window: int) -> None:
        descriptor, at, size = self._span(number, window)
        if os.preadv(descriptor, [row.data], at) != size:
            url = self.selection.shards[number].place.url
            raise DataError(
                f"{url} became shorter while it was in use: put the old shard back, or start a new "
                "study"
            )

    def _span(self, number: int, window: int) -> tuple[int, int, int]:
        """Return the open file, the first byte and the length of a window."""
        shard, context = self.selection.shards[number], self.selection.context
        at = shard.start + window * context * shard.width
        return self._descriptor(number, shard), at, (context + 1) * shard.width

    def _descriptor(self, number: int, shard: TokenShard) -> int:
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        if len(self._open) >= OPEN_SHARDS:
            os.close(self._open.popitem(last=False)[1])
        self._open[number] = self.cache.open(shard.place, shard.check)
        return self._open[number]


def _close_all(descriptors: OrderedDict[int, int]) -> None:
    while descriptors:
        os.close(descriptors.popitem()[1])


class ReadAhead:
    """Draws in blocks of ``BLOCK`` windows, and reads in the background what comes after a batch.

    What is returned depends on the arguments only. A step of a small model takes a few windows and
    a millisecond: reading each step's on its own would cost a tenth of that.
    """

    def __init__(self, draw: Draw, total: int) -> None:
        self._draw, self._total = draw, total
        self._held: dict[int, Future[npt.NDArray[np.int64]]] = {}
        self._thread = ThreadPoolExecutor(1, "read-ahead")

    def __call__(self, window_start: int, count: int) -> npt.NDArray[np.int64]:
        """Return (count, context + 1) tokens, the windows after the first ``window_start``."""
        first, last = window_start // BLOCK, (window_start + count - 1) // BLOCK
        wanted = range(first, 2 * last - first + 2)  # this batch, and as much again
        self._held = {
            number: self._held.get(number) or self._thread.submit(self._block, number)
            for number in wanted
            if number * BLOCK < self._total
        }
        parts = [self._held[number].result() for number in range(first, last + 1)]
        at = window_start - first * BLOCK
        together = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return together[at : at + count].copy()

    def _block(self, number: int) -> npt.NDArray[np.int64]:
        return self._draw(number * BLOCK, min(BLOCK, self._total - number * BLOCK))
