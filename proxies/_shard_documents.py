"""Decides what a document is in each kind of shard, as text or as ready-made tokens.

WebDataset tar (members .txt, .json, .npy), Parquet and Arrow IPC (a column of text or of lists of
whole numbers), MDS, JSON lines: one document a member, row, sample or line. Shards are read from
the front, a piece at a time; nothing is unpacked onto the disk, and no pickle is read.
"""

from __future__ import annotations

import io
import json
import posixpath
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from planner.errors import DataError
from planner.proxies._documents import Document, content, field_of, ids_of, unpacked
from planner.proxies._mds import read_samples
from planner.proxies._options import DataOptions
from planner.proxies._places import Place

_PACKED = ("", ".gz", ".zst", ".zstd")
_TAR = (".tar", ".tar.gz", ".tgz")
_ARROW = (".arrow", ".feather", ".ipc")
_MDS = tuple(".mds" + end for end in _PACKED)
_LINES = tuple(".jsonl" + end for end in _PACKED)
KINDS = (*_TAR, ".parquet", *_ARROW, *_MDS, *_LINES)
"""How the names of shards of documents end."""

ROWS = 256
"""Rows of a Parquet file in memory at a time."""

BUFFER = 2**20
"""Bytes of a column read at a time: a row group may be larger than the memory."""

FILE_MAGIC = b"ARROW1"
TAR_BLOCK = 512


def read_documents(place: Place, options: DataOptions) -> Iterator[Document]:
    """Yield the documents of a shard: UTF-8 bytes, or token ids. Raises DataError."""
    with _told_as_damage(place.url), place.open() as file:
        if place.name.endswith(_TAR):
            yield from _members(file, place, options.field)
        elif place.name.endswith(".parquet"):
            yield from _parquet(file, options.field, place.url)
        elif place.name.endswith(_ARROW):
            yield from _arrow(file, options.field, place.url)
        elif place.name.endswith(_MDS):
            opened = unpacked(file, place.name)
            yield from read_samples(opened, options.field, options.dtype, place.url)
        else:
            yield from _lines(unpacked(file, place.name), options.field, place.url)


def _lines(file: IO[bytes], field: str, url: str) -> Iterator[Document]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            where = f"{url}, line {number}"
            yield content(field_of(line, field, where), where)


@contextmanager
def _told_as_damage(url: str) -> Iterator[None]:
    try:
        yield
    except (
        *(OSError, EOFError, ValueError, LookupError, tarfile.TarError),
        *(zlib.error, pa.ArrowException),
    ) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(
            f"{url} is damaged or cut short ({said}): fetch or write the shard again"
        ) from error


def _members(file: IO[bytes], place: Place, field: str) -> Iterator[Document]:
    """Yield the documents of a tar in its order."""
    used, seen = 0, set()
    if place.name.endswith(".tar"):
        _check_end(place)
    with tarfile.open(fileobj=file, mode="r|*") as tar:
        for member in tar:
            ending = posixpath.splitext(member.name)[1]
            seen.add(ending or member.name)
            held = tar.extractfile(member) if ending in (".txt", ".json", ".npy") else None
            if held is None:
                continue
            document = _member(held.read(), ending, field, f"{place.url}:{member.name}")
            if document is not None:
                used += 1
                yield document
    if not used:
        raise DataError(
            f"{place.url} holds no document: members ending with .txt, .npy, or .json with a key "
            f"{field!r} are read, it has {', '.join(sorted(seen)) or 'none'}; name the key with "
            "`field:`"
        )


def _check_end(place: Place) -> None:
    """Raise ReadError for a tar that lacks its end: the module takes that for a short archive."""
    if place.size < TAR_BLOCK or any(place.read(place.size - TAR_BLOCK, place.size)):
        raise tarfile.ReadError("its end-of-archive block is missing")


def _member(data: bytes, ending: str, field: str, where: str) -> Document | None:
    if ending == ".txt":
        return data
    if ending == ".npy":
        return ids_of(np.load(io.BytesIO(data), allow_pickle=False), where)
    told = json.loads(data)  # beside a .txt it may be a mere description, without our key
    return content(told[field], where) if isinstance(told, dict) and field in told else None


def _parquet(file: IO[bytes], field: str, url: str) -> Iterator[Document]:
    with pq.ParquetFile(file, buffer_size=BUFFER) as table:
        _check_column(table.schema_arrow, field, url)
        for batch in table.iter_batches(columns=[field], batch_size=ROWS):
            yield from _rows(batch.column(0))


def _arrow(file: IO[bytes], field: str, url: str) -> Iterator[Document]:
    """Yield the rows of an IPC file, or of a stream as `datasets` caches them."""
    head = file.read(len(FILE_MAGIC))
    file.seek(0)
    batches: Iterable[Any]
    if head == FILE_MAGIC:
        opened = pa.ipc.open_file(file)
        batches = (opened.get_batch(i) for i in range(opened.num_record_batches))
    else:
        batches = opened = pa.ipc.open_stream(file)
    _check_column(opened.schema, field, url)
    for batch in batches:
        yield from _rows(batch.column(batch.schema.get_field_index(field)))


def _check_column(schema: Any, field: str, url: str) -> None:  # noqa: ANN401 - pyarrow is untyped
    if field not in schema.names:
        raise DataError(
            f"{url} has no column {field!r} (it has: {', '.join(schema.names)}): name the right "
            "one with `field:`"
        )
    kind = schema.field(field).type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not text and not (_is_list(kind) and pa.types.is_integer(kind.value_type)):
        raise DataError(
            f"{url}: column {field!r} holds {kind}, text or lists of whole numbers are needed"
        )


def _is_list(kind: Any) -> bool:  # noqa: ANN401 - pyarrow is untyped
    types = pa.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _rows(column: Any) -> Iterator[Document]:  # noqa: ANN401 - pyarrow is untyped
    if not _is_list(column.type):
        yield from (text.encode("utf-8", "replace") for text in column.to_pylist() if text)
        return
    for row in column:
        if row.is_valid and len(row.values):
            yield row.values.to_numpy(zero_copy_only=False)
