"""One file to rows: which format it is by its first bytes."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path

import pandas as pd

from planner.errors import TableError
from planner.importers.delimited import read_delimited
from planner.importers.nested import expand
from planner.importers.part import BROKEN, Part, frame_of
from planner.importers.records import read_records
from planner.importers.tensorboard import is_event_file, tensorboard_rows

REFUSED = (
    (b"PK\x03\x04", "a spreadsheet or a zip archive; save the sheet as CSV"),
    (b"SQLite format 3", "a database; export its runs to CSV or JSON first"),
    (b"\x93NUMPY", "a NumPy array, which has no column names; write a CSV"),
    (b"\x80\x04", "a pickle, which would run code when read; write a CSV"),
    (b"\x80\x05", "a pickle, which would run code when read; write a CSV"),
    (b"%PDF", "a PDF; copy its table into a CSV"),
    (b"<", "a web page or XML; copy its table into a CSV"),
)
MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
"""Byte order marks, as spreadsheets put them before text."""


def load_file(path: Path) -> Part:
    """Read one file. Raises TableError that says what it is and what to do."""
    if is_event_file(path.name):
        return _events(path)
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise TableError(f"the table {path} cannot be read: {error}") from None
    if content.startswith(b"PAR1"):
        return _parquet(content, path)
    for start, what in REFUSED:
        if content.lstrip()[:20].startswith(start):
            raise TableError(f"the table {path} is {what}")
    text = _text(content, path)
    if not text.strip():
        raise TableError(f"the table {path} has no rows; it needs one row per finished run")
    first = text.lstrip()[0]
    return read_records(text, str(path)) if first in "{[" else read_delimited(text, str(path))


def _text(content: bytes, path: Path) -> str:
    encoding = next((name for mark, name in MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise TableError(
            f"the table {path} is not text in UTF-8 (byte {error.start}); save it as UTF-8"
        ) from None
    if "\0" in text:
        raise TableError(
            f"the table {path} is neither CSV, JSON nor Parquet: it holds bytes that are no text"
        )
    return text


def _parquet(content: bytes, path: Path) -> Part:
    try:
        frame = pd.read_parquet(io.BytesIO(content))
    except (ValueError, OSError) as error:
        raise TableError(f"the table {path} is damaged Parquet: {error}") from None
    frame.columns = frame.columns.map(str)
    for name in frame.columns:
        if isinstance(frame[name].dtype, pd.CategoricalDtype):
            frame[name] = frame[name].astype(object)
    return Part(str(path), expand(frame.reset_index(drop=True)))


def _events(path: Path) -> Part:
    try:
        rows = tensorboard_rows(path.parent, path.parent.name or path.name)
    except BROKEN as error:
        raise TableError(f"the event file {path} cannot be read: {error}") from None
    return Part(str(path), frame_of(rows))
