"""From gathered rows to sound ones: every row is a value, an upper bound, or dropped with a reason.

A value is the final loss of a run that ended. A bound is a loss that the run, or a decayed run of
the same tokens, would have gone below: runs cut off, checkpoints, trunks that others fork from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from planner.arrays import Flags, Floats, Labels
from planner.errors import TableError
from planner.table.derive import check_needed, complete, derive, n_column, stated
from planner.table.gather import gather
from planner.table.histories import run_rows, settle, spread
from planner.table.names import NUMBERS, nearest
from planner.table.numbers import BLANK, is_garbled, to_floats
from planner.table.status import BOUNDS, our_status
from planner.where import parse_where

FAR = 2.0
"""A loss this many times the median is shown: diverged runs often carry no status."""
SHOWN = 3
"""Names a note lists before it says how many more there are."""


@dataclass(frozen=True)
class Clean:
    """Sound rows: ``frame`` holds every column, ``numbers`` ours as floats, ``ncd`` N, D and C.

    ``censored`` (n,) marks the upper bounds.
    """

    frame: pd.DataFrame
    numbers: pd.DataFrame
    ncd: Mapping[str, Floats]
    censored: Flags
    n_convention: str
    flops_convention: str
    dropped: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    unknown: tuple[str, ...]


@np.errstate(all="ignore")  # a product that overflows is infinite, and its row is dropped for that
def clean(
    sources: Sequence[Path],
    maps: Sequence[str],
    where: str | None,
    *,
    all_rows: bool,
    diverged: bool = False,
) -> Clean:
    """Read sources and keep what is sound. Raises TableError when nothing is.

    ``diverged`` keeps the runs that diverged too, and those without a loss: they were paid for.
    """
    table = ", ".join(map(str, sources))
    got = gather(sources, maps)
    frame, numbers = got.frame, _numbers(got.frame)
    status = our_status(frame.get("status"), len(frame))
    runs, notes = run_rows(frame, numbers)
    spread(numbers, runs)
    notes += derive(numbers, status)
    check_needed(numbers, got.theirs, table)
    settled = settle(frame, numbers, status, runs, all_rows=all_rows)
    chosen = settled.keep & _selected(frame, numbers, where, got.renamed)
    if where and not chosen.any():
        raise TableError(f"no row of {table} satisfies --where '{where}'")
    status = np.where(_trunks(frame, settled.status), "checkpoint", settled.status)
    rows = _sound(frame[chosen], numbers[chosen], status[chosen], table, diverged=diverged)
    return replace(
        rows,
        dropped=(*got.dropped, *settled.dropped, *rows.dropped),
        notes=(*got.notes, *notes, *settled.notes, *rows.notes),
        unknown=got.unknown,
    )


def _sound(
    frame: pd.DataFrame, numbers: pd.DataFrame, status: Labels, table: str, *, diverged: bool
) -> Clean:
    """Return the rows with a loss and two of N, D and C, and why the others have not."""
    convention = n_column(numbers, table)
    ncd, flops_convention, notes = complete(numbers, convention)
    for name, source in (("params", convention), ("tokens", "tokens"), ("flops", "flops")):
        if source in frame.columns:  # what is inferred must not hide a cell that makes no sense
            ncd[name][is_garbled(frame[source])] = np.nan
    values = {"loss": numbers["loss"].to_numpy(), **ncd}
    lost = diverged & ((status == "diverged") | ~np.isfinite(values["loss"]))
    checked = values | {"loss": np.where(lost, 1.0, values["loss"])}  # no loss, and none needed
    reasons = _reasons(frame, checked, convention, np.where(lost, "", status))
    sound = reasons == ""
    if not sound.any():
        why = "; ".join(list(dict.fromkeys(reasons.tolist()))[:3])
        raise TableError(f"no row of {table} can be used: {why}")
    keys = frame["key"].to_numpy()
    censored = np.isin(status[sound], BOUNDS)
    frame, numbers = _labelled(frame[sound], status[sound]), numbers[sound]
    spoken = convention if convention not in ("", "params") else "unspecified"
    return Clean(
        frame=frame,
        numbers=numbers,
        ncd={name: column[sound] for name, column in ncd.items()},
        censored=censored,
        n_convention=stated(frame, "n_convention", spoken),
        flops_convention=stated(frame, "flops_convention", flops_convention),
        dropped=tuple(zip(keys[~sound].tolist(), reasons[~sound].tolist(), strict=True)),
        notes=(*notes, *_notes(frame, numbers, status[sound], censored)),
        unknown=(),
    )


def _numbers(frame: pd.DataFrame) -> pd.DataFrame:
    columns = {name: to_floats(frame[name]) for name in NUMBERS if name in frame.columns}
    return pd.DataFrame(columns, index=frame.index)


def _selected(
    frame: pd.DataFrame, numbers: pd.DataFrame, where: str | None, renamed: Mapping[str, str]
) -> Flags:
    """Return the mask of rows that satisfy every clause; columns may be ours or theirs."""
    keep = np.ones(len(frame), dtype=bool)
    for clause in parse_where(where) if where else ():
        name = clause.name if clause.name in frame else renamed.get(clause.name, clause.name)
        if name in numbers:
            values = numbers[name].to_numpy()
        elif name in frame.columns:
            values = to_floats(frame[name])
        else:
            there = dict.fromkeys([*map(str, frame), *map(str, numbers), *renamed])
            raise TableError(
                f"--where: the table has no `{clause.name}`{nearest(clause.name, there)}"
            )
        keep &= clause.holds(values)
    return keep


def _trunks(frame: pd.DataFrame, status: Labels) -> Flags:
    """Mark undecayed trunks: constant schedule, and another row forks from them."""
    if not {"parent", "schedule"} <= set(frame.columns):
        return np.zeros(len(frame), dtype=bool)
    parents = set(frame["parent"]) - {""}
    constant = frame["schedule"].astype(str).str.lower() == "constant"
    return (frame["key"].isin(parents) & constant & np.isin(status, ["", "done"])).to_numpy()


def _reasons(
    frame: pd.DataFrame, values: Mapping[str, Floats], convention: str, status: Labels
) -> npt.NDArray[np.object_]:
    """Return why each row cannot be used (n,), "" where it can."""
    reasons = np.full(len(frame), "", dtype=object)
    known = ("", "done", *BOUNDS)
    for i in np.flatnonzero(~np.isin(status, known)):
        reasons[i] = (
            "the run diverged: its loss says nothing of one that works"
            if status[i] == "diverged"
            else f"status `{status[i]}` is no word planner knows; write done if the run ended"
        )
    for name, column in values.items():
        for i in np.flatnonzero((reasons == "") & ~(np.isfinite(column) & (column > 0))):
            source = convention if name == "params" else name
            reasons[i] = _reason(name, column[i], frame[source].iloc[i] if source in frame else "")
            if status[i] in BOUNDS:
                reasons[i] += f"; status is {status[i]}"
    return reasons


def _reason(name: str, value: float, shown: object) -> str:
    if str(shown).strip().lower() in BLANK:
        return (
            f"{name} is missing"
            if np.isnan(value)
            else f"{name} is {value:g}, not a positive number"
        )
    hint = " (6*N*D overflows 64-bit integers)" if name == "flops" and value < 0 else ""
    if name == "loss" and value <= 0:
        hint = " (a law of ln loss needs plain nats per token)"
    return f"{name} is {shown}, not a positive number{hint}"


def _labelled(frame: pd.DataFrame, status: Labels) -> pd.DataFrame:
    """Return the frame with our status words and keys that no two rows share."""
    frame = frame.copy(deep=False)
    if "status" in frame.columns or (status != "").any():
        frame["status"] = status
    again = frame.groupby("key").cumcount()
    if again.any():
        counted = frame["key"] + " (" + (again + 1).astype(str) + ")"
        frame["key"] = frame["key"].where(again == 0, counted)
    return frame


def _notes(
    frame: pd.DataFrame, numbers: pd.DataFrame, status: Labels, censored: Flags
) -> list[str]:
    """Return what a reader should know of the rows that stay."""
    keys = frame["key"].to_numpy()
    notes = []
    if censored.any():
        named = [f"{k} ({s})" for k, s in zip(keys[censored], status[censored], strict=True)]
        notes.append(f"{len(named)} rows count only as upper bounds: {_listed(named)}.")
    loss = numbers["loss"].to_numpy()
    far = loss > FAR * np.median(loss)
    if far.any():
        notes.append(
            f"{int(far.sum())} losses are over {FAR:g} times the median ({_listed(keys[far])}); "
            f"leave diverged runs out with --where 'loss < {FAR * np.median(loss):.3g}'."
        )
    epochs = numbers["epochs"].to_numpy() if "epochs" in numbers else np.empty(0)
    repeated = epochs[epochs > 1.01]
    if len(repeated):
        notes.append(
            f"{len(repeated)} runs repeat their data, up to {repeated.max():.1f} times; their "
            "tokens are not unique tokens, and beyond 4 repeats they are worth clearly less."
        )
    return notes


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(str, names[:SHOWN])) + more
