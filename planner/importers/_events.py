"""One event of a TensorBoard file: its scalars by tag, and the hparams it may hold.

Of Event {2 step, 5 summary {1 value {1 tag, 2 simple_value, 8 tensor, 9 metadata}}} only scalars
are kept. A scalar is a simple_value, or a tensor of one float (TensorFlow 2). The hparams plugin
keeps its numbers in the metadata of one summary.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from planner.importers._tfrecord import message_fields

FLOAT, DOUBLE = 1, 2
"""The two tensor types a scalar comes in."""


def scalars(record: bytes) -> tuple[int, dict[str, float], dict[str, Any]]:
    """Return (step, scalars by tag, hparams) of an event."""
    step, summary = 0, b""
    for field, value in message_fields(record):
        if field == 2 and isinstance(value, int):
            step = value
        elif field == 5 and isinstance(value, bytes):
            summary = value
    scalars: dict[str, float] = {}
    config: dict[str, Any] = {}
    for _, entry in message_fields(summary):
        tag, number, metadata = _value(entry) if isinstance(entry, bytes) else ("", None, b"")
        if tag == "_hparams_/session_start_info":
            config |= {f"hparams.{name}": v for name, v in _hparams(metadata)}
        elif number is not None:
            scalars[tag] = number
    return step, scalars, config


def _value(entry: bytes) -> tuple[str, float | None, bytes]:
    tag, metadata = "", b""
    number: float | None = None
    for field, value in message_fields(entry):
        if not isinstance(value, bytes):
            continue
        if field == 1:
            tag = value.decode("utf-8", "replace")
        elif field == 2:
            number = struct.unpack("<f", value)[0]
        elif field == 8:
            number = _tensor(value)
        elif field == 9:
            metadata = value
    return tag, number, metadata


def _tensor(tensor: bytes) -> float | None:
    """Return the one number of a scalar tensor, None for any other."""
    kind, raw = 0, b""
    for field, value in message_fields(tensor):
        if field == 1 and isinstance(value, int):
            kind = value
        elif field in (4, 5, 6) and isinstance(value, bytes):
            raw = value
    layout = {FLOAT: "<f", DOUBLE: "<d"}.get(kind, "")
    if not layout or len(raw) != struct.calcsize(layout):
        return None
    return float(struct.unpack(layout, raw)[0])


def _hparams(metadata: bytes) -> Iterator[tuple[str, Any]]:
    """Yield (name, value) of plugin_data {content {session_start_info {hparams}}}."""
    start = _inside(_inside(_inside(metadata, 1), 2), 3)
    for field, entry in message_fields(start):
        if field == 1 and isinstance(entry, bytes):
            name = _inside(entry, 1).decode("utf-8", "replace")
            yield name, _plain(_inside(entry, 2))


def _inside(message: bytes, wanted: int) -> bytes:
    found = (v for field, v in message_fields(message) if field == wanted and isinstance(v, bytes))
    return next(found, b"")


def _plain(message: bytes) -> float | str | bool | None:
    """Return a google.protobuf.Value: a number, a text or a truth."""
    for field, value in message_fields(message):
        if field == 2 and isinstance(value, bytes):
            return float(struct.unpack("<d", value)[0])
        if field == 3 and isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        if field == 4:
            return bool(value)
    return None
