"""Their columns to ours: what --map says, then names that mean one thing everywhere.

``theirs=ours`` copies a column, ``theirs*factor=ours`` multiplies numbers and columns. After that a
foreign name is taken only where it is sure (:mod:`planner.table.names`), and a note says so. Two
columns that could both be one of ours are joined where they never disagree, and otherwise refused
with the --map that would choose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from planner.errors import TableError
from planner.table.names import (
    FACTORS,
    KNOWN,
    N_COLUMNS,
    NEEDED,
    NUMBERS,
    STRICT,
    factor_of,
    meaning,
    nearest,
    rank,
    spelled,
)
from planner.table.numbers import number, to_floats

DISAGREE = 1e-6
"""Relative difference from which two columns are two quantities."""


@dataclass(frozen=True)
class Map:
    """One --map: the product of ``factors`` (columns and numbers) is our column ``ours``."""

    text: str
    source: str
    ours: str

    def factors(self, columns: Sequence[str]) -> tuple[str, ...]:
        """Return the factors; a whole name that holds a ``*`` is one."""
        if self.source in columns:
            return (self.source,)
        return tuple(part.strip() for part in self.source.split("*"))


@dataclass
class Named:
    """A frame under our names: ``taken`` maps each foreign column that was used to ours.

    ``whole`` are those whose values live on unchanged in ours.
    """

    frame: pd.DataFrame
    taken: dict[str, str] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


def parse_maps(maps: Sequence[str]) -> tuple[Map, ...]:
    """Read --map texts. Raises TableError for one that is not theirs=ours."""
    parsed = []
    for text in maps:
        source, _, ours = (part.strip() for part in text.rpartition("="))
        if not source:
            raise TableError(f"--map '{text}' is not of the form theirs=ours or theirs*factor=ours")
        if ours not in KNOWN:
            raise TableError(
                f"--map '{text}': planner knows no `{ours}`{nearest(ours, sorted(KNOWN))}"
            )
        parsed.append(Map(text, source, ours))
    return tuple(parsed)


def applicable(frames: Sequence[pd.DataFrame], maps: Sequence[Map]) -> None:
    """Raise TableError for a --map whose columns no source has."""
    for one in maps:
        if any(not _lacking(one, frame) for frame in frames):
            continue
        fewest = min((_lacking(one, frame) for frame in frames), key=len)
        there = dict.fromkeys(str(name) for frame in frames for name in frame.columns)
        raise TableError(
            f"--map '{one.text}': the table has no `{fewest[0]}`{nearest(fewest[0], there)}"
        )


def name_columns(frame: pd.DataFrame, maps: Sequence[Map], source: str) -> Named:
    """Give a frame our names. Raises TableError where the choice is the user's."""
    named = Named(frame.copy(deep=False))
    mapped = {one.ours for one in maps if not _lacking(one, frame)}
    for one in maps:
        if _lacking(one, frame):
            continue
        factors = one.factors(list(frame.columns))
        if one.ours in frame.columns and one.ours not in factors:
            named.frame[f"{one.ours} (theirs)"] = frame[one.ours]
        named.frame[one.ours] = _product(one, frame)
        named.taken |= dict.fromkeys((f for f in factors if f in frame), one.ours)
        named.whole |= {f for f in factors if len(factors) == 1}
    foreign: dict[str, list[str]] = {}
    for name in frame.columns:
        ours = meaning(name)
        if ours and name not in named.taken and (name != ours or ours == "loss"):
            foreign.setdefault(ours, []).append(name)
    has_n = any(n in named.frame.columns for n in N_COLUMNS)
    for ours, names in foreign.items():
        exact = ours in named.frame.columns or (has_n and ours in N_COLUMNS)
        if ours == "loss" and exact and ours not in mapped:
            _sure_of_loss(names, source)
        elif not exact:
            _take(named, ours, sorted(names, key=rank), source)
    return named


def _lacking(one: Map, frame: pd.DataFrame) -> list[str]:
    columns = [str(name) for name in frame.columns]
    factors = one.factors(columns)
    lacking = [part for part in factors if part not in columns and np.isnan(number(part))]
    return lacking or ([] if any(part in columns for part in factors) else [one.source])


def _product(one: Map, frame: pd.DataFrame) -> pd.Series:
    factors = one.factors([str(name) for name in frame.columns])
    if len(factors) == 1:
        return frame[factors[0]]
    columns = [to_floats(frame[part]) if part in frame else number(part) for part in factors]
    product = np.prod(np.broadcast_arrays(*columns), axis=0)
    return pd.Series(product, index=frame.index)


def _sure_of_loss(names: list[str], source: str) -> None:
    """Refuse a plain `loss` beside a validation loss: trackers call the training loss so."""
    others = [name for name in names if name != "loss"]
    if others:
        raise TableError(
            f"{source} has `loss` and `{others[0]}`, and `loss` may be the training loss; say "
            f"which is meant: --map '{others[0]}=loss' or --map 'loss=loss'"
        )


def _take(named: Named, ours: str, names: list[str], source: str) -> None:
    """Take the columns of one meaning as ours, if they do not contradict each other."""
    frame = named.frame
    values = [_in_our_unit(frame[name], name, ours) for name in names]
    if ours in STRICT and (rival := _rival(values, names)):
        maps = " or ".join(f"--map '{_with_factor(name)}={ours}'" for name in (names[0], rival))
        if ours in NEEDED:
            raise TableError(
                f"{source}: `{names[0]}` and `{rival}` can both be `{ours}` and differ; say which "
                f"with {maps}"
            )
        named.notes.append(f"{ours} is not taken: `{names[0]}` and `{rival}` differ; add {maps}.")
        return
    joined = values[0]
    for other in values[1:]:
        joined = joined.where(joined.notna() & (joined.astype(object) != ""), other)
    frame[ours] = joined
    named.taken |= dict.fromkeys(names, ours)
    named.whole |= {name for name in names if factor_of(name) == 1.0}
    shown = ", ".join(f"`{_with_factor(name)}`" for name in names)
    named.notes.append(f"{shown} taken as {ours}.")


def _in_our_unit(column: pd.Series, name: str, ours: str) -> pd.Series:
    if spelled(name)[0] in FACTORS:
        return pd.Series(to_floats(column) * factor_of(name), index=column.index)
    return column if ours not in NUMBERS else column.astype(object)


def _with_factor(name: str) -> str:
    factor = factor_of(name)
    return name if factor == 1.0 else f"{name}*{factor:g}"


def _rival(values: list[pd.Series], names: list[str]) -> str:
    """Return the first column that disagrees with the first one; what was planned never does."""
    first = to_floats(values[0])
    for other, name in zip(values[1:], names[1:], strict=True):
        if rank(name)[0]:
            continue
        second = to_floats(other)
        both = np.isfinite(first) & np.isfinite(second)
        if (np.abs(first - second)[both] > DISAGREE * np.abs(first[both])).any():
            return name
    return ""
