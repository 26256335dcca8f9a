"""Sources to one frame under our names, every row with a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from planner.errors import TableError
from planner.importers import Part, load
from planner.table.columns import Named, applicable, name_columns, parse_maps
from planner.table.names import KNOWN, suggestion
from planner.table.numbers import to_floats


@dataclass(frozen=True)
class Gathered:
    """All rows of all sources under our names.

    ``theirs`` are the columns as they were found, ``unknown`` those nobody used; ``renamed`` says
    which of ours each moved column is now.
    """

    frame: pd.DataFrame
    dropped: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    theirs: tuple[str, ...]
    unknown: tuple[str, ...]
    renamed: Mapping[str, str]


def gather(sources: Sequence[Path], maps: Sequence[str]) -> Gathered:
    """Read the sources under our names. Raises TableError where there is nothing to fit."""
    parsed = parse_maps(maps)
    parts = [part for source in sources for part in load(source)]
    shown = ", ".join(map(str, sources))
    filled = [part for part in parts if len(part.frame)]
    if not filled:
        raise TableError(f"the table {shown} has no rows; it needs one row per finished run")
    applicable([part.frame for part in filled], parsed)
    named = [name_columns(part.frame, parsed, part.source) for part in filled]
    dropped = [entry for part in parts for entry in part.dropped]
    notes = [note for part in parts for note in part.notes]
    notes += [note for one in named for note in one.notes]
    with_loss = ["loss" in one.frame.columns for one in named]
    if not any(with_loss):
        hint = suggestion(["loss"], [name for part in filled for name in _numeric(part.frame)])
        raise TableError(f"the table {shown} has no `loss`{hint}")
    frames, unknown = [], dict[str, None]()
    for part, one, has_loss in zip(filled, named, with_loss, strict=True):
        if has_loss:
            frames.append(_frame(part, one, several=len(filled) > 1))
            unknown |= dict.fromkeys(_unused(one))
        else:
            hint = suggestion(["loss"], _numeric(part.frame))
            dropped.append((part.source, f"its {len(part.frame)} rows have no `loss`{hint}"))
    frame = pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]
    return Gathered(
        frame=frame,
        dropped=tuple(dropped),
        notes=tuple(dict.fromkeys(notes)),
        theirs=tuple(dict.fromkeys(str(name) for part in filled for name in part.frame.columns)),
        unknown=tuple(unknown),
        renamed={name: one.taken[name] for one in named for name in one.whole},
    )


def _frame(part: Part, named: Named, *, several: bool) -> pd.DataFrame:
    """Return a source's rows without the columns that live on in ours, each row with a key."""
    moved = [name for name in named.whole if named.taken[name] != name]
    frame = named.frame.drop(columns=moved).reset_index(drop=True)
    place = f"{Path(part.source).name} " if several else ""
    names = pd.Series([f"{place}row {i + 1}" for i in range(len(frame))], dtype=object)
    if "key" in frame.columns:
        frame["key"] = _text(frame["key"]).where(lambda key: key != "", names)
    else:
        frame["key"] = names
    for label in ("run", "parent"):
        if label in frame.columns:
            frame[label] = _text(frame[label])
    return frame


def _unused(named: Named) -> list[str]:
    return [str(n) for n in named.frame if n not in KNOWN and n not in named.taken]


def _numeric(frame: pd.DataFrame) -> list[str]:
    """Return the columns that hold a number somewhere."""
    return [str(name) for name in frame.columns if np.isfinite(to_floats(frame[name])).any()]


def _text(column: pd.Series) -> pd.Series:
    """Return a label column as text, "" where it is missing; 7.0 is the label 7."""
    whole = pd.api.types.is_float_dtype(column)
    if whole and (column.dropna() % 1 == 0).all():
        column = column.astype("Int64")
    filled = column.astype(object).where(column.notna(), "")
    return filled.map(str)
