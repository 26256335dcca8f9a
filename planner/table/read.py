"""A runs table to what a law is fitted to (contracts.md section 5).

A table needs ``loss`` and two of ``params`` (or params_matmul, params_non_embedding, params_total),
``tokens`` and ``flops``; the third follows from C = 6 N D, and that is recorded. Rows that cannot
be used are dropped and listed with the reason; columns nobody knows are listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from planner.arrays import Floats, Labels
from planner.errors import TableError
from planner.observations import Observations
from planner.table.clean import Clean, clean

OPTIONAL = (
    *("seed", "unique_tokens", "epochs", "warmup_tokens", "decay_ratio", "final_lr_ratio"),
    *("width", "depth"),
)
"""Optional columns of observations that a table fills under the same name."""


@dataclass(frozen=True)
class RunsTable:
    """A table as read: what can be fitted, and everything that was not used.

    ``dropped`` holds (row name, reason) pairs, ``notes`` sentences on what was inferred.
    """

    observations: Observations
    dropped: tuple[tuple[str, str], ...]
    unknown_columns: tuple[str, ...]
    notes: tuple[str, ...]


def read_runs(
    path: Path | str, maps: Sequence[str] = (), where: str | None = None, *, all_rows: bool = False
) -> RunsTable:
    """Read a runs table, or anything else :mod:`planner.importers` reads.

    ``maps`` are ``theirs=ours`` or ``theirs*factor=ours``; ``where`` is ``column op number [and
    ...]`` with == meaning within .5 %; ``all_rows`` keeps the earlier rows of runs as upper bounds.
    Raises TableError with what is missing.
    """
    rows = clean([Path(path)], maps, where, all_rows=all_rows)
    if rows.censored.all():
        raise TableError(
            f"no run of {path} ended: all {len(rows.censored)} losses are only upper bounds "
            f"({rows.frame['key'].iloc[0]} is {rows.frame['status'].iloc[0]})"
        )
    return RunsTable(_observations(rows), rows.dropped, tuple(sorted(rows.unknown)), rows.notes)


def read_attempts(
    paths: Sequence[Path], maps: Sequence[str] = (), where: str | None = None
) -> RunsTable:
    """Read every run that was paid for: those that diverged stay, with the loss they had or nan.

    Rows whose losses are only upper bounds are left out. Raises TableError as :func:`read_runs`.
    """
    rows = clean(paths, maps, where, all_rows=False, diverged=True)
    runs = _observations(rows)
    bounds = tuple((runs.key[i], "its loss is a bound") for i in np.flatnonzero(runs.censored))
    dropped = (*rows.dropped, *bounds)
    return RunsTable(runs.take(~runs.censored), dropped, tuple(sorted(rows.unknown)), rows.notes)


def _observations(rows: Clean) -> Observations:
    frame, numbers = rows.frame, rows.numbers
    known = ("loss", "loss_se", "lr", "batch_tokens", *(n for n in OPTIONAL if n in numbers))
    columns: dict[str, Any] = {**rows.ncd, **{name: _column(rows, name) for name in known}}
    return Observations(
        **columns,
        group=_groups(rows),
        key=tuple(frame["key"]),
        n_convention=rows.n_convention,
        flops_convention=rows.flops_convention,
        schedule=_labels(rows, "schedule"),
        status=_labels(rows, "status"),
        censored=rows.censored,
    )


def _column(rows: Clean, name: str) -> Floats:
    known = rows.numbers[name].to_numpy() if name in rows.numbers else np.nan
    return np.broadcast_to(known, len(rows.frame)).astype(np.float64)


def _labels(rows: Clean, name: str) -> Labels:
    if name not in rows.frame.columns:
        return np.full(len(rows.frame), "", dtype=np.str_)
    column = rows.frame[name]
    return column.astype(object).where(column.notna(), "").astype(str).to_numpy(dtype=np.str_)


def _groups(rows: Clean) -> tuple[str, ...]:
    """Return what is independent: the trunk a row forks from, else its run, else itself."""
    group = rows.frame["key"]
    for label in ("run", "parent"):
        if label in rows.frame.columns:
            column = rows.frame[label]
            group = column.where(column != "", group)
    return tuple(group)
