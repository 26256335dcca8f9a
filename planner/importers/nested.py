"""Cells that hold a whole mapping, as a data frame of W&B's API saves `summary` and `config`."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from planner.importers.part import flat, frame_of

_NOT_A_LITERAL = re.compile(r"\b(?:nan|inf)\b(?=\s*[,}\])])")


def expand(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with every column of mappings spread over columns ``name.key``."""
    for name in list(frame.columns):
        cells = frame[name].astype(object).where(frame[name].notna(), "").tolist()
        filled = [cell for cell in cells if not isinstance(cell, str) or cell]
        if not filled or not all(_is_mapping(cell) for cell in filled):
            continue
        read = [_mapping(cell) for cell in cells]
        if any(record is None for record in read):
            continue
        inner = frame_of([flat(record or {}, str(name)) for record in read])
        inner.index = frame.index
        frame = pd.concat([frame.drop(columns=[name]), inner], axis=1)
    return frame


def _is_mapping(cell: object) -> bool:
    if isinstance(cell, Mapping):
        return True
    return isinstance(cell, str) and cell.startswith("{") and cell.endswith("}")


def _mapping(cell: object) -> Mapping[str, Any] | None:
    """Read JSON, or a mapping as Python prints it; None for neither."""
    if isinstance(cell, Mapping):
        return cell
    if not isinstance(cell, str) or not cell:
        return {}
    try:
        found = json.loads(cell)
    except json.JSONDecodeError:
        try:
            found = ast.literal_eval(_NOT_A_LITERAL.sub("None", cell))
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    return found if isinstance(found, Mapping) else None
