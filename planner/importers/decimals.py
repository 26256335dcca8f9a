"""Which mark is decimal: what a cell such as ``3,14``, ``1.234,5`` or ``1,234`` can mean."""

from __future__ import annotations

import re

_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}(?:(?:,\d{3})+|(?:\.\d{3})+)")
_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+),\d+([eE][+-]?\d+)?\s*%?")
_POINT = re.compile(r"[+-]?(\d+|\d{1,3}(,\d{3})+)\.\d*([eE][+-]?\d+)?\s*%?")


def is_grouped(cell: str) -> bool:
    """Say whether a cell may group thousands or hold three decimals: 1,234 or 1.234."""
    return bool(_GROUPED.fullmatch(cell))


def is_commaed(cell: str) -> bool:
    """Say whether a cell must have a decimal comma: 3,14 or 0,123 or 1.234,5."""
    return bool(_COMMA.fullmatch(cell)) and not is_grouped(cell)


def is_pointed(cell: str) -> bool:
    """Say whether a cell must have a decimal point: 3.14 or 0.123 or 1,234.5."""
    return bool(_POINT.fullmatch(cell)) and not is_grouped(cell)


def with_point(cell: str) -> str:
    """Return a number with a decimal comma as one with a point; any other cell as it is."""
    if not (is_commaed(cell) or is_grouped(cell)):
        return cell
    return cell.replace(".", "").replace(",", ".")
