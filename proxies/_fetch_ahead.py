"""Decides which remote shards are fetched before they are read: those of the next group.

While a run reads one group of shards (``_order``), a thread of its own fetches the next one, as far
as both together fit into the cache, and no further than the run will read. A shard that was left
behind is closed, so that the disk gets its room back when the cache drops it. What is fetched when
never changes what is read. A shard that cannot be fetched ahead is left to the reader, which tries
again and says what is wrong.
"""

from __future__ import annotations

import weakref
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread

import numpy as np

from planner.errors import DataError
from planner.proxies._order import Ints, Order
from planner.proxies._stream import Stream

Jobs = SimpleQueue[list[int] | None]
"""Shards to fetch, in turn; a newer job ends an older one, None the thread."""


class FetchAhead:
    """Follows one reader of ``stream``, which will read ``windows`` windows in all."""

    def __init__(self, stream: Stream, order: Order, windows: int) -> None:
        self._stream, self._order, self._windows = stream, order, windows
        places = [shard.place for shard in stream.selection.shards]
        self._sizes = np.array([0 if place.path else place.size for place in places])
        self._begin = self._end = 0
        self._shards: Ints = np.zeros(0, dtype=np.int64)
        self._jobs: Jobs | None = None

    def reading(self, place: int) -> None:
        """Say that the window at ``place`` has just been read; a new group begins a new job."""
        if self._begin <= place < self._end:
            return
        left = self._shards
        self._begin, self._end, self._shards = self._order.group(place)
        self._stream.close(np.setdiff1d(left, self._shards))
        self._queue().put(self._next() if self._end < self._windows else [])

    def _next(self) -> list[int]:
        """Return the shards of the next group that fit into the cache beside this one."""
        _, _, following = self._order.group(self._end)
        room = self._stream.cache.limit - self._sizes[self._shards].sum()
        fits = self._sizes[following].cumsum() <= room
        return [int(i) for i in following[fits] if self._sizes[i]]

    def _queue(self) -> Jobs:
        if self._jobs is None:
            self._jobs = SimpleQueue()
            weakref.finalize(self, self._jobs.put, None)
            arguments = self._stream, self._jobs
            Thread(target=_work, args=arguments, name="fetch-ahead", daemon=True).start()
        return self._jobs


def _work(stream: Stream, jobs: Jobs) -> None:
    while (job := jobs.get()) is not None:
        with suppress(DataError, OSError):  # the reader meets it again, and tells
            for shard in job:
                if not jobs.empty():
                    break
                stream.fetch(shard)
