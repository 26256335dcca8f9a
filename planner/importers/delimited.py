"""CSV and TSV as spreadsheets and trackers write them: any delimiter, either decimal mark.

Every cell stays text, so nothing is rounded and no key loses its zeros. The delimiter is the one
that gives a wide header whose width the rows share. A column is read with a decimal comma when
its cells say so (``3,14``; ``1.234,5``) and none says otherwise; where ``3,141`` could be either
number, the file is refused.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import pandas as pd

from planner.errors import TableError
from planner.importers.decimals import is_commaed, is_grouped, is_pointed, with_point
from planner.importers.nested import expand
from planner.importers.part import Part

DELIMITERS = ",\t;|"
SAMPLE = 50
"""Rows from which the delimiter is told."""
AGREE = 0.8
"""Share of the sample's rows that must be as wide as the header."""


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
    if any(name.endswith("__MIN") for name in header):
        raise TableError(
            f"{source} is a chart of W&B, one curve per column; save the table of runs as CSV "
            "instead, with its config and summary columns"
        )
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
    return Part(source, expand(frame), tuple(dropped), (*notes, *told))


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
    """Return the columns with points for decimal commas, and a note on what was changed.

    Where the comma is the delimiter, each column is judged alone, when it is read as numbers.
    """
    with_comma = {k for k, cells in enumerate(columns) if any("," in cell for cell in cells)}
    if delimiter == "," or not with_comma:
        return columns, []
    pointed = {k for k, cells in enumerate(columns) if any(map(is_pointed, cells))}
    if not any(is_commaed(cell) for k in with_comma - pointed for cell in columns[k]):
        doubtful = [(k, c) for k in sorted(with_comma) for c in columns[k] if is_grouped(c)]
        if doubtful and not pointed:
            k, cell = doubtful[0]
            raise TableError(
                f"{source}, column {header[k]}: `{cell}` can be {cell.replace(',', '.')} or "
                f"{cell.replace(',', '')}; write numbers with a decimal point and without groups"
            )
        return columns, []
    new = [cs if k in pointed else [with_point(c) for c in cs] for k, cs in enumerate(columns)]
    changed = [name for name, old, now in zip(header, columns, new, strict=True) if old != now]
    return new, [f"{source}: a comma is the decimal mark in {', '.join(changed)}."]
