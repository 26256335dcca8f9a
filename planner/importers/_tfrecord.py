"""TensorBoard's event files byte by byte: records with checksums, and protobuf fields in them.

A record is   length (8 bytes) | crc of it (4) | data | crc of the data (4), little endian; the crc
is CRC-32C rotated by 15 bits plus a constant. A protobuf message is a row of (tag, value), the tag
being field * 8 + wire type: 0 a varint, 1 eight bytes, 2 a length and that many, 5 four bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

SMALL = 1 << 20
"""Records above this many bytes are images or graphs, never scalars; they are passed over."""


def _table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC = _table()


def masked_crc(data: bytes) -> int:
    """Return the checksum TensorBoard stores beside data."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def records(file: Path) -> Iterator[bytes]:
    """Yield the small records of a file; ValueError, with the byte, where a checksum is wrong.

    A last record that is cut off, as a crash leaves it, ends the file without a word.
    """
    with file.open("rb") as stream:
        while len(head := stream.read(12)) == 12:
            at = stream.tell() - 12
            length, crc = struct.unpack("<QI", head)
            if masked_crc(head[:8]) != crc:
                raise ValueError(f"the record at byte {at} is damaged (checksum of its length)")
            if length > SMALL:
                stream.seek(length + 4, 1)
                continue
            data, tail = stream.read(length), stream.read(4)
            if len(tail) < 4:
                return
            if masked_crc(data) != struct.unpack("<I", tail)[0]:
                raise ValueError(f"the record at byte {at} is damaged (checksum of its data)")
            yield data


def message_fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield (field, value): an int for a varint, the raw bytes for everything else."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, at = _varint(message, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field has wire type {kind}, which no event uses")
        yield tag >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message):
            raise ValueError("a message ends within a number")
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
