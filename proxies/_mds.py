"""Decides how MosaicML MDS shards are read, without the library that writes them.

A shard is, little-endian: uint32 n, n + 1 uint32 byte positions of the samples, a JSON description
of the columns, the samples. A sample is the uint32 sizes of its columns of no fixed size, then the
columns. The whole file may be packed (zstd, gzip). ``index.json`` names the shards of a folder.
The library asks for twelve others, some of cloud vendors, and an older numpy than ours; the format
is small, and columns that hold pickles are refused here.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator
from typing import IO

import numpy as np

from planner.errors import DataError
from planner.proxies._documents import Document, content
from planner.proxies._places import Place
from planner.proxies._tokens import Tokens, check_width

INDEX = "index.json"
_SHAPE_WIDTHS = (1, 2, 4, 8)
_ARRAY_TYPES = {
    **{8: "uint8", 9: "int8", 16: "uint16", 17: "int16"},
    **{32: "uint32", 33: "int32", 64: "uint64", 65: "int64"},
}
"""Codes of an array's type where the column does not fix it; floats (18, 34, 66) are no tokens."""


def mds_shards(index: Place) -> list[Place]:
    """Return the shards an ``index.json`` names. Raises DataError for one that is not there."""
    try:
        told = json.loads(index.read(0, index.size))
        files = [entry["zip_data"] or entry["raw_data"] for entry in told["shards"]]
        sizes = {str(file["basename"]): int(file["bytes"]) for file in files}
    except (ValueError, LookupError, TypeError) as error:
        raise DataError(f"{index.url} is no index of MDS shards: {error!r}") from error
    shards = []
    folder = posixpath.dirname(index.name)
    for name, size in sizes.items():
        place = index.sibling(name)
        if place is None or place.size != size:
            found = "is missing" if place is None else f"has {place.size:,} bytes"
            raise DataError(
                f"{index.url} names the shard {name} of {size:,} bytes, which {found}: fetch or "
                "write it again"
            )
        shards.append(place.renamed(posixpath.join(folder, name)))
    return shards


def read_samples(file: IO[bytes], field: str, dtype: str, url: str) -> Iterator[Document]:
    """Yield the documents of an unpacked shard, one after the other."""
    count = int(np.frombuffer(_take(file, 4, url), "<u4")[0])
    ends = np.frombuffer(_take(file, 4 * (count + 1), url), "<u4").astype(np.int64)
    told = json.loads(_take(file, int(ends[0]) - 4 * (count + 2), url))
    names, encodings = told["column_names"], told["column_encodings"]
    if field not in names:
        raise DataError(
            f"{url} has no column {field!r} (it has: {', '.join(names)}): name the right one with "
            "`field:`"
        )
    wanted = names.index(field)
    for size in np.diff(ends).tolist():
        sample = _take(file, size, url)
        yield _decode(_column(sample, told["column_sizes"], wanted), encodings[wanted], dtype, url)


def _take(file: IO[bytes], size: int, url: str) -> bytes:
    taken = file.read(size)
    if len(taken) != size:
        raise DataError(f"{url} is cut short: fetch or write it again")
    return taken


def _column(sample: bytes, fixed: list[int | None], wanted: int) -> bytes:
    free = sum(size is None for size in fixed)
    told = iter(np.frombuffer(sample[: 4 * free], "<u4").tolist())
    sizes = [next(told) if size is None else size for size in fixed]
    start = 4 * free + sum(sizes[:wanted])
    return sample[start : start + sizes[wanted]]


def _decode(data: bytes, encoding: str, dtype: str, url: str) -> Document:
    kind, _, form = encoding.partition(":")
    if kind == "str":
        return data
    if kind == "bytes":
        ids = np.frombuffer(data, dtype)
        check_width(ids, dtype, url)
        return ids
    if kind == "ndarray":
        return _array(data, *form.split(":"), url=url)
    if kind == "json":
        return content(json.loads(data), url)
    raise DataError(
        f"{url}: the column is encoded as {encoding}; str, bytes, ndarray and json are read"
    )


def _array(data: bytes, dtype: str = "", shape: str = "", *, url: str) -> Tokens:
    at = 0
    if not dtype:
        dtype, at = _ARRAY_TYPES.get(data[0], "float"), 1
    if np.dtype(dtype).kind not in "iu":
        raise DataError(f"{url}: the column holds {dtype}, text or whole numbers are needed")
    if not shape:
        at += 1 + (data[at] >> 2) * _SHAPE_WIDTHS[data[at] & 3]
    return np.frombuffer(data[at:], dtype)
