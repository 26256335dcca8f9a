"""What an importer hands over: flat rows as they were found, and what it could not read."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

BROKEN = (ValueError, KeyError, TypeError, AttributeError, OSError, struct.error)
"""What reading a tracker's files raises when they are not what the tracker writes."""


@dataclass(frozen=True)
class Part:
    """Rows of one source; every value is text or a number, never yet interpreted.

    ``dropped`` holds (row name, reason) pairs. Of runs read as a history, ``run`` names the run
    and ``steps`` orders its rows.
    """

    source: str
    frame: pd.DataFrame
    dropped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


def flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested keys to ``optimizer.lr``; a list stays as its JSON text."""
    return dict(_leaves(record, prefix))


def _leaves(record: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in record.items():
        path = f"{prefix}.{name}" if prefix else str(name)
        if isinstance(value, Mapping):
            yield from _leaves(value, path)
        else:
            yield path, json.dumps(value) if isinstance(value, list) else value


def frame_of(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Build a frame with the union of the records' keys, in the order they first appear.

    Whole numbers stay whole where a column has gaps: the columns are objects.
    """
    names = dict.fromkeys(name for record in records for name in record)
    columns = {name: [record.get(name) for record in records] for name in names}
    return pd.DataFrame(columns, dtype=object)
