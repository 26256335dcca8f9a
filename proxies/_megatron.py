"""Decides whether a Megatron index fits its data file, and what type its tokens have.

An index (.idx) is, little-endian: 9 bytes of magic, uint64 version 1, uint8 type code, uint64
sequences n, uint64 document bounds m, then n int32 lengths, n int64 byte positions and m int64
sequence numbers at which documents begin, the last one n (Megatron-LM, `indexed_dataset.py`). The
data file (.bin) holds the sequences one after the other, which is checked here, a piece at a time.
"""

from __future__ import annotations

import struct

import numpy as np

from planner.errors import DataError
from planner.proxies._places import Place

MAGIC = b"MMIDIDX\x00\x00"
OLD_MAGIC = b"TNTIDX"
HEADER = struct.Struct("<9sQBQQ")
TYPES = {1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 8: "uint16"}
"""Codes of whole numbers; 6 and 7 are floats, which are no tokens."""

PIECE = 2**20
"""Sequences checked at a time."""


def read_index(index: Place, data: Place) -> tuple[str, int]:
    """Return the dtype and the number of tokens of a data file. Raises DataError."""
    head = index.read(0, min(HEADER.size, index.size))
    if head.startswith(OLD_MAGIC):
        raise DataError(f"{index.url} is an index of the old kind (TNTIDX): write it again as mmap")
    if len(head) < HEADER.size or not head.startswith(MAGIC):
        raise DataError(f"{index.url} is no Megatron index: it does not begin with MMIDIDX")
    _, version, code, sequences, bounds = HEADER.unpack(head)
    if version != 1 or code not in TYPES:
        raise DataError(
            f"{index.url} has version {version} and type code {code}: version 1 and a type of "
            f"whole numbers are read ({', '.join(f'{c} {t}' for c, t in TYPES.items())})"
        )
    if index.size < HEADER.size + 12 * sequences + 8 * bounds:
        raise DataError(
            f"{index.url} is cut short: it announces {sequences:,} sequences in {bounds:,} "
            "documents; copy or write it again"
        )
    width = np.dtype(TYPES[code]).itemsize
    end = _check_positions(index, sequences, width)
    _check_documents(index, sequences, bounds)
    if end != data.size:
        raise DataError(
            f"{data.url} has {data.size:,} bytes and its index speaks of {end:,}: one of them is "
            "cut short or another run's"
        )
    return TYPES[code], end // width


def _check_positions(index: Place, sequences: int, width: int) -> int:
    """Return the byte at which the last sequence ends; they must lie end to end."""
    end = 0
    for first in range(0, sequences, PIECE):
        count = min(PIECE, sequences - first)
        at = HEADER.size + 4 * first
        lengths = np.frombuffer(index.read(at, at + 4 * count), "<i4").astype(np.int64)
        at = HEADER.size + 4 * sequences + 8 * first
        positions = np.frombuffer(index.read(at, at + 8 * count), "<i8")
        ends = end + width * np.cumsum(lengths)
        if np.any(lengths < 0) or not np.array_equal(positions, ends - width * lengths):
            raise DataError(
                f"{index.url}: its sequences do not lie one after the other in the data file: "
                "write both again, or merge them with Megatron's tools"
            )
        end = int(ends[-1])
    return end


def _check_documents(index: Place, sequences: int, bounds: int) -> None:
    if not bounds:
        return
    at = HEADER.size + 12 * sequences + 8 * (bounds - 1)
    last = int(np.frombuffer(index.read(at, at + 8), "<i8")[0])
    if last != sequences:
        raise DataError(
            f"{index.url} is damaged: its documents end at sequence {last:,} of {sequences:,}"
        )
