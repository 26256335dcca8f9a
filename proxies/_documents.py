"""Decides what a document is in each kind of file: a piece of a plain text, a line, a row.

Plain text (.txt .md .py) is read in pieces of at most ``PIECE`` bytes, so that a large file can be
sampled everywhere without being read whole. Records (.jsonl, packed or not, .parquet) are one
document each: the text under one field.
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from planner.errors import DataError
from planner.proxies._tokens import Tokens

Document = bytes | Tokens
"""UTF-8 text, or token ids."""

PIECE = 2**16
"""Bytes of plain text that become one document."""

_PLAIN = (".txt", ".md", ".py")
_LINES = (".jsonl", ".jsonl.gz", ".jsonl.zst")


def check_kind(path: Path) -> None:
    """Raise DataError for a file that cannot be read as text."""
    if not path.name.endswith((*_PLAIN, *_LINES, ".parquet")):
        raise DataError(
            f"{path}: text is read from {' '.join((*_PLAIN, *_LINES, '.parquet'))} files; rename "
            "or convert it, or name token files (.bin, .npy) under `tokens:`"
        )


def holds_records(path: Path) -> bool:
    """Say whether a file holds many documents rather than one text."""
    return not path.name.endswith(_PLAIN)


def read_piece(path: Path, start: int, stop: int) -> bytes:
    """Return bytes [start, stop) of a plain text."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(stop - start)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def read_records(path: Path, field: str) -> Iterator[bytes]:
    """Yield the documents of a record file as UTF-8 bytes."""
    try:
        yield from (_rows if path.name.endswith(".parquet") else _lines)(path, field)
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _lines(path: Path, field: str) -> Iterator[bytes]:
    with path.open("rb") as packed, unpacked(packed, path.name) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _text_of(line, field, f"{path}, line {number}")


def unpacked(file: IO[bytes], name: str) -> IO[bytes]:
    """Return what a file holds that is packed as its name says."""
    if name.endswith(".gz"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=file))
    if name.endswith((".zst", ".zstd")):
        # pyarrow's reader, unlike zstandard's, notices where a stream was cut short.
        return io.BufferedReader(pa.CompressedInputStream(file, "zstd"))
    return file


def _text_of(line: bytes, field: str, place: str) -> bytes:
    text = field_of(line, field, place)
    if not isinstance(text, str):
        raise DataError(f"{place} has no text under {field!r} but {type(text).__name__}")
    return text.encode("utf-8", "replace")


def field_of(line: bytes, field: str, place: str) -> Any:  # noqa: ANN401 - a value out of JSON
    """Return what a line of JSON has under a key. Raises DataError."""
    try:
        record = json.loads(line)
    except ValueError as error:
        raise DataError(f"{place} is not JSON: {error}") from error
    if not isinstance(record, dict) or record.get(field) is None:
        keys = ", ".join(record) if isinstance(record, dict) else type(record).__name__
        raise DataError(
            f"{place} has no text under {field!r} (it has: {keys}): name the right one with "
            "`field:`"
        )
    return record[field]


def content(value: Any, place: str) -> Document:  # noqa: ANN401 - a value out of JSON
    """Return text as UTF-8, a list of whole numbers as ids. Raises DataError."""
    return value.encode("utf-8", "replace") if isinstance(value, str) else ids_of(value, place)


def ids_of(value: Any, place: str) -> Tokens:  # noqa: ANN401 - a list out of JSON, or an array
    """Return a list of whole numbers as an array. Raises DataError."""
    ids = np.asarray(value)
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise DataError(f"{place} holds {ids.dtype}: text or a list of whole numbers is needed")
    return ids


def _rows(path: Path, field: str) -> Iterator[bytes]:
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        if field not in schema.names:
            raise DataError(
                f"{path} has no column {field!r} (it has: {', '.join(schema.names)}): name the "
                "right one with `field:`"
            )
        kind = schema.field(field).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise DataError(f"{path}: column {field!r} holds {kind}, text is needed")
        for batch in file.iter_batches(columns=[field], batch_size=1024):
            texts = batch.column(0).to_pylist()
            yield from (text.encode("utf-8", "replace") for text in texts if text)
