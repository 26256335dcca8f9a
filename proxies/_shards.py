"""Decides what a shard of ready-made tokens is: .bin, .npy, or .bin with a Megatron index.

Such a shard is read where it lies, a window at a time, so it must be one run of tokens of one type.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from planner.errors import DataError
from planner.proxies._megatron import read_index
from planner.proxies._options import DataOptions
from planner.proxies._places import Place, fingerprint
from planner.proxies._tokens import Tokens, check_ids, check_width

HEADER = 4_096
"""Bytes within which the header of a one-dimensional .npy ends."""

FLAT = (".bin", ".npy", ".idx")


@dataclass(frozen=True, slots=True)
class TokenShard:
    """One run of tokens in a file, and what the file was when it was chosen."""

    place: Place
    dtype: str
    start: int
    """The byte at which the tokens begin."""
    tokens: int
    print: str = ""
    whole: bool = False
    """Whether the fingerprint ``print`` covers every byte."""

    @property
    def width(self) -> int:
        """Bytes a token."""
        return np.dtype(self.dtype).itemsize

    def read(self, first: int, stop: int) -> Tokens:
        """Return tokens [first, stop). Raises DataError."""
        at = self.start + first * self.width
        return np.frombuffer(self.place.read(at, at + (stop - first) * self.width), self.dtype)

    def printed(self, *, whole: bool) -> TokenShard:
        """Return it with its fingerprint."""
        return replace(self, print=fingerprint(self.place, whole=whole), whole=whole)

    def check(self, place: Place) -> None:
        """Raise DataError when what lies at ``place`` is not this shard's file."""
        if self.print and fingerprint(place, whole=self.whole) != self.print:
            raise DataError(
                f"{self.place.url} is damaged or was changed since the study began: put the old "
                "shard back, or start a new study"
            )


def open_shards(places: Sequence[Place], options: DataOptions) -> list[TokenShard]:
    """Return the token shards at ``places``, which must agree in their type. Raises DataError."""
    shards = []
    for place in places:
        if not place.name.endswith(".idx"):
            shards.append(_open(place, options))
        elif place.sibling(_base(place)[:-4] + ".bin") is None:
            raise DataError(
                f"{place.url} is a Megatron index without its data: put "
                f"{_base(place)[:-4]}.bin beside it"
            )
    if not shards:
        raise DataError(f"{places[0].url} is an index: name the .bin files as well")
    types = {shard.dtype: shard.place.url for shard in shards}
    if len(types) > 1:
        told = " and ".join(f"{dtype} ({url})" for dtype, url in types.items())
        raise DataError(
            f"the shards hold tokens of different types, {told}: they may come from different "
            "tokenizers; train on those of one, or write them again in one type"
        )
    _check_vocabulary(shards, options)
    return shards


def _open(place: Place, options: DataOptions) -> TokenShard:
    if place.name.endswith(".npy"):
        return _open_npy(place)
    index = place.sibling(_base(place)[:-4] + ".idx")
    if index is not None:
        dtype, tokens = read_index(index, place)
        return TokenShard(place, dtype, 0, tokens)
    width = np.dtype(options.dtype).itemsize
    if place.size == 0 or place.size % width:
        raise DataError(
            f"{place.url} has {place.size:,} bytes, which is no whole number of {options.dtype} "
            "tokens: state the right `dtype:`, or fetch or write the shard again"
        )
    shard = TokenShard(place, options.dtype, 0, place.size // width)
    check_width(shard.read(0, min(shard.tokens, 2**16)), options.dtype, place.url)
    return shard


def _open_npy(place: Place) -> TokenShard:
    head = io.BytesIO(place.read(0, min(HEADER, place.size)))
    try:
        version = np.lib.format.read_magic(head)
        reader: Any = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            reader = np.lib.format.read_array_header_2_0
        shape, _, dtype = reader(head)
    except ValueError as error:
        raise DataError(f"{place.url} is not an array file that numpy can read: {error}") from error
    if len(shape) != 1 or dtype.kind not in "iu" or not shape[0]:
        raise DataError(
            f"{place.url} holds {dtype} of shape {shape}: token ids are whole numbers in one "
            "dimension"
        )
    shard = TokenShard(place, dtype.str, head.tell(), shape[0])
    if shard.start + shape[0] * shard.width > place.size:
        raise DataError(f"{place.url} is cut short: it announces {shape[0]:,} tokens")
    return shard


def _check_vocabulary(shards: Sequence[TokenShard], options: DataOptions) -> None:
    """Raise DataError when no vocabulary is stated, its type is too small, or ids exceed it."""
    if options.vocab is None:
        raise DataError(
            "shards of tokens do not say how large their vocabulary is: state the tokenizer's "
            "`vocab:`"
        )
    room = int(np.iinfo(shards[0].dtype).max) + 1
    if room < options.vocab:
        raise DataError(
            f"{shards[0].place.url} holds {np.dtype(shards[0].dtype)}, room for {room:,} ids, and "
            f"the vocabulary has {options.vocab:,}: larger ids were cut; write the shards again in "
            "a wider type"
        )
    for shard in shards:
        check_ids(shard.read(0, min(shard.tokens, 2**16)), options.vocab, shard.place.url)


def _base(place: Place) -> str:
    return place.name.rpartition("/")[2]
