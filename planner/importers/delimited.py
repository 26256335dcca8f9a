"""CSV and TSV as spreadsheets and trackers write them: any delimiter, either decimal mark.

Every cell stays text, so nothing is rounded and no key loses its zeros. The delimiter is the one
that gives a wide header whose width the rows share. A column is read with a decimal comma when
its cells say so (``3,14``; ``1.234,5``) and none says otherwise; where ``3,141`` could be either
number, the file is refused.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

import pandas as pd

from planner.errors import TableError
from planner.importers.part import Part

DELIMITERS = ",\t;|"
SAMPLE = 50
"""Rows from which the delimiter is told."""
AGREE = 0.8
"""Share of the sample's rows that must be as wide as the header."""
_GROUPED_BY_COMMA = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
_GROUPED_BY_POINT = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+")
_DECIMAL_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+),\d+([eE][+-]?\d+)?\s*%?")
_DECIMAL_POINT = re.compile(r"[+-]?(\d+|\d{1,3}(,\d{3})+)\.\d*([eE][+-]?\d+)?\s*%?")


def read_delimited(text: str, source: str) -> Part:
    """Read a delimited table. Raises TableError where it is none."""
    delimiter = _delimiter(text)
    csv.field_size_limit(1 << 28)
    try:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=False)
        rows = [(lines.line_num, row) for row in lines if any(row)]
    except csv.Error as error:
        raise TableError(f"{source} cannot be read as a table: {error}") from None
    if not rows:
        raise TableError(f"{source} is empty; it needs a header and one row per run")
    header, notes = _header([cell.strip() for cell in rows[0][1]], source)
    width = len(header)
    if width == 1:
        raise TableError(
            f"{source} is no table: its first line `{header[0][:60]}` is one cell; a table starts "
            "with the names of its columns, with , ; | or a tab between them"
        )
    sound, dropped = [], []
    for line, row in rows[1:]:
        cells = row[: max(width, _used(row))]
        if len(cells) == width:
            sound.append([cell.strip() for cell in cells])
        else:
            shape = f"it has {len(cells)} cells and the header {width}"
            dropped.append((f"{source} line {line}", f"{shape}; quote cells that hold a delimiter"))
    columns = [list(cells) for cells in zip(*sound, strict=True)] or [[] for _ in header]
    columns, told = _decimals(header, columns, delimiter, source)
    frame = pd.DataFrame(dict(zip(header, columns, strict=True)), dtype=object)
    return Part(source, frame, tuple(dropped), (*notes, *told))


def _used(row: Sequence[str]) -> int:
    """Return the width without empty cells at the end."""
    return next((n for n in range(len(row), 0, -1) if row[n - 1].strip()), 0)


def _delimiter(text: str) -> str:
    best, widest = ",", 1
    head = text[: 1 << 20].splitlines()[:SAMPLE]
    for delimiter in DELIMITERS:
        widths = [len(row) for row in csv.reader(head, delimiter=delimiter) if row]
        if widths and widths.count(widths[0]) >= AGREE * len(widths) and widths[0] > widest:
            best, widest = delimiter, widths[0]
    return best


def _header(names: list[str], source: str) -> tuple[list[str], list[str]]:
    """Return unique names: an unnamed column is named by its place, a second one counted."""
    found: list[str] = []
    for place, name in enumerate(names, start=1):
        name = name or f"column {place}"
        copies = sum(1 for known in found if known == name or known.startswith(f"{name} ("))
        found.append(f"{name} ({copies + 1})" if name in found else name)
    again = sorted({name for name in names if name and names.count(name) > 1})
    if not again:
        return found, []
    told = ", ".join(again)
    return found, [f"{source}: the header has {told} more than once; the first of each is used."]


def _decimals(
    header: list[str], columns: list[list[str]], delimiter: str, source: str
) -> tuple[list[list[str]], list[str]]:
    """Return the columns with points for decimal commas, and a note on what was changed."""
    with_comma = {k for k, cells in enumerate(columns) if any("," in cell for cell in cells)}
    if not with_comma:
        return columns, []
    pointed = {k for k, cells in enumerate(columns) if any(map(_is_pointed, cells))}
    commaed = {k for k in with_comma - pointed if any(map(_is_commaed, columns[k]))}
    open_ended = {k for k in with_comma - pointed if any(map(_is_grouped, columns[k]))}
    if not commaed:
        if delimiter != "," and open_ended and not pointed:
            k = min(open_ended)
            cell = next(cell for cell in columns[k] if _is_grouped(cell))
            raise TableError(
                f"{source}, column {header[k]}: `{cell}` can be {cell.replace(',', '.')} or "
                f"{cell.replace(',', '')}; write numbers with a decimal point and without groups"
            )
        return columns, []
    changed = sorted(
        k
        for k, cells in enumerate(columns)
        if k not in pointed and any(_is_commaed(cell) or _is_grouped(cell) for cell in cells)
    )
    new = [[_with_point(c) for c in cs] if k in changed else cs for k, cs in enumerate(columns)]
    told = ", ".join(header[k] for k in changed)
    return new, [f"{source}: a comma is the decimal mark in {told}."]


def _is_commaed(cell: str) -> bool:
    return bool(_DECIMAL_COMMA.fullmatch(cell)) and not _GROUPED_BY_COMMA.fullmatch(cell)


def _is_pointed(cell: str) -> bool:
    return bool(_DECIMAL_POINT.fullmatch(cell)) and not _GROUPED_BY_POINT.fullmatch(cell)


def _is_grouped(cell: str) -> bool:
    return bool(_GROUPED_BY_COMMA.fullmatch(cell) or _GROUPED_BY_POINT.fullmatch(cell))


def _with_point(cell: str) -> str:
    swapped = cell.replace(".", "").replace(",", ".")
    return swapped if _is_commaed(cell) or _is_grouped(cell) else cell
