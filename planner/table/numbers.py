"""Numbers as people and trackers write them: ``1,234,567``, ``7B``, ``1e9 tokens``, ``12.5%``.

A comma counts as grouping only where it stands before groups of three digits, so ``3,14`` is no
number rather than 314: a column of such cells has decimal commas, a lone one is a mistake.
"""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd

from planner.arrays import Flags, Floats
from planner.errors import UsageError
from planner.importers.decimals import is_commaed, is_pointed, with_point
from planner.units import parse_count

_MARKS = r"[,_ '\u00a0\u202f]"
_GROUPS = re.compile(rf"[+-]?[1-9]\d{{0,2}}({_MARKS})\d{{3}}(?:\1\d{{3}})*(?![\d,_'])")


BLANK = frozenset({"", "nan", "none", "null", "na", "n/a", "<na>", "-", "--"})
"""Texts that say that there is no value."""


def is_garbled(column: pd.Series) -> Flags:
    """Return where a cell holds something that is no number (n,), as a blank one does not."""
    rows = np.isnan(to_floats(column)) & column.notna().to_numpy()
    for i in np.flatnonzero(rows):
        rows[i] = str(column.iloc[i]).strip().lower() not in BLANK
    return rows


def to_floats(column: pd.Series) -> Floats:
    """Return a column as floats (n,); nan where a cell holds no number."""
    if not (column.dtype == object or pd.api.types.is_string_dtype(column)):
        return pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    cells = column.mask(column.isna() | (column == ""), np.nan).to_numpy(dtype=object)
    try:
        return cells.astype(np.float64)
    except (TypeError, ValueError):  # at least one cell is no plain decimal: one by one
        return np.array([number(cell) for cell in _pointed(cells.tolist())], dtype=np.float64)


def _pointed(cells: list[object]) -> list[object]:
    """Return cells with decimal points, where all of a column say that theirs is a comma."""
    texts = [cell for cell in cells if isinstance(cell, str)]
    if not any(map(is_commaed, texts)) or any(map(is_pointed, texts)):
        return cells
    return [with_point(cell) if isinstance(cell, str) else cell for cell in cells]


def number(cell: object) -> float:
    """Return the number a cell holds, nan when it holds none; exact for plain decimals."""
    if not isinstance(cell, str):
        try:
            return float(cell)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            return math.nan
    text = cell.strip()
    if text.endswith("%"):
        return number(text[:-1]) / 100.0
    grouped = _GROUPS.match(text)
    if grouped:
        text = re.sub(_MARKS, "", grouped[0]) + text[grouped.end() :]
    if "," in text or "_" in text:
        return math.nan
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return parse_count(text)
    except UsageError:
        return math.nan
