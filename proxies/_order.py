"""Decides the order in which the windows of many shards come, without ever storing it.

    window = P(place),   P a Feistel network over b bits, 2^(b-1) < count <= 2^b, walked until it
                         falls below count (Luby and Rackoff 1988; Black and Rogaway 2002)

P is a permutation, so every window comes once an epoch; it is computed where it is asked for, so a
run's whole state is the number of windows it consumed. Within a group all windows are shuffled,
which is the exact permutation of everything where there is one group (all shards on this machine).
Remote shards are shuffled by the seed, taken in groups of at most ``reach`` windows, and a batch
holds windows of one group (at a border, of two).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

ROUNDS = 6
"""Even, so that both halves keep their widths; four rounds are a strong pseudo-random permutation
(Luby and Rackoff), six leave room for a simple round function."""

_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
"""The multipliers of splitmix64 (Steele, Lea and Flood 2014)."""


def permuted(places: Ints, count: int, key: tuple[int, ...]) -> Ints:
    """Return where ``key`` puts the ``places`` (each in [0, count)) in a permutation of count."""
    bits = max(2, (count - 1).bit_length())
    keys = _round_keys(key)
    moved = _network(places.astype(np.uint64), bits, keys)
    while len(beyond := np.flatnonzero(moved >= count)):
        moved[beyond] = _network(moved[beyond], bits, keys)
    return moved.astype(np.int64)


def _network(values: Words, bits: int, keys: Words) -> Words:
    low, high = np.uint64(bits // 2), np.uint64(bits - bits // 2)
    one = np.uint64(1)
    left, right = values >> low, values & ((one << low) - one)
    for key in keys:
        mixed = (right ^ key) * _FIRST
        mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
        left, right = right, left ^ ((mixed ^ (mixed >> np.uint64(31))) & ((one << high) - one))
        low, high = high, low
    return (left << low) | right


@lru_cache(maxsize=64)
def _round_keys(key: tuple[int, ...]) -> Words:
    return np.random.default_rng(key).integers(0, 2**64, ROUNDS, dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class _Epoch:
    """The shards of an epoch in their order, and the places at which shards and groups end."""

    shards: Ints
    shard_ends: Ints
    group_ends: Ints


class Order:
    """Every epoch's order of ``counts[i]`` windows in shard i, as ``seed`` decides."""

    def __init__(self, counts: Ints, seed: int, reach: int | None) -> None:
        self._counts, self._seed, self._reach = counts, seed, reach
        self.total = int(counts.sum())
        self._epochs: dict[int, _Epoch] = {}

    def at(self, first: int, count: int) -> tuple[Ints, Ints]:
        """Return the shard of each of the windows after the first ``first``, and its number there.

        Places run on over epochs, each of which has an order of its own.
        """
        parts = []
        while count > 0:
            epoch, place = divmod(first, self.total)
            taken = min(count, self.total - place)
            parts.append(self._within(epoch, np.arange(place, place + taken)))
            first, count = first + taken, count - taken
        shards, windows = zip(*parts, strict=True)
        return np.concatenate(shards), np.concatenate(windows)

    def group(self, place: int) -> tuple[int, int, Ints]:
        """Return the first place of the group around ``place``, the first behind it, its shards."""
        epoch, within = divmod(place, self.total)
        laid = self._laid_out(epoch)
        group = int(np.searchsorted(laid.group_ends, within, side="right"))
        begin, end = (int(laid.group_ends[group - 1]) if group else 0), int(laid.group_ends[group])
        first, last = np.searchsorted(laid.shard_ends, [begin, end - 1], side="right")
        before = epoch * self.total
        return before + begin, before + end, laid.shards[first : last + 1]

    def _within(self, epoch: int, places: Ints) -> tuple[Ints, Ints]:
        laid = self._laid_out(epoch)
        groups = np.searchsorted(laid.group_ends, places, side="right")
        moved = np.empty_like(places)
        for group in np.unique(groups).tolist():
            begin = int(laid.group_ends[group - 1]) if group else 0
            size, mine = int(laid.group_ends[group]) - begin, groups == group
            moved[mine] = begin + permuted(places[mine] - begin, size, (self._seed, epoch, group))
        at = np.searchsorted(laid.shard_ends, moved, side="right")
        shards = laid.shards[at]
        return shards, moved - (laid.shard_ends[at] - self._counts[shards])

    def _laid_out(self, epoch: int) -> _Epoch:
        laid = self._epochs.get(epoch)
        if laid is None:
            shards = np.arange(len(self._counts))
            if self._reach is not None:
                shards = np.random.default_rng((self._seed, epoch)).permutation(shards)
            ends = np.cumsum(self._counts[shards])
            laid = _Epoch(shards, ends, _group_ends(ends, self._reach))
            self._epochs = {epoch: laid}  # replaced whole: another thread may be reading
        return laid


def _group_ends(shard_ends: Ints, reach: int | None) -> Ints:
    """Return where groups of whole shards end that hold ``reach`` windows at most, or one shard."""
    ends, begin = [], 0
    for end, following in zip(shard_ends.tolist(), [*shard_ends[1:].tolist(), None], strict=True):
        if following is None or (reach is not None and following - begin > reach):
            ends.append(end)
            begin = end
    return np.array(ends, dtype=np.int64)
