"""Rows of one run: which of them is its final loss, and what the others are.

Rows share a run when their ``run`` is the same and so are N and seed; they are ordered by tokens,
else by steps. Only the last row with a loss can be a final, decayed loss, and only when it was
measured at the run's end. The earlier ones are left out, or kept as upper bounds (``checkpoint``)
when every row is asked for: a decayed loss at those tokens would have been lower.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from planner.arrays import Flags, Floats, Labels
from planner.table.names import N_COLUMNS

Rows: TypeAlias = npt.NDArray[np.intp]
"""Row numbers of one run, in the order of the table."""
END = 0.99
"""Share of a run's tokens (or planned steps) from which a loss counts as that of its end."""
GROWING = ("tokens", "flops", "seconds", "epochs")
"""Columns that grow along a run: between two rows they are interpolated over its steps."""
OWN = frozenset({"loss", "loss_se", "steps", "lr", *GROWING})
"""Columns whose value belongs to one row and must not be copied to the others."""


@dataclass
class Settled:
    """Which rows stay (n,), our status of each, and what was left out."""

    keep: Flags
    status: Labels
    dropped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def run_rows(frame: pd.DataFrame, numbers: pd.DataFrame) -> tuple[list[Rows], list[str]]:
    """Return the row numbers of every run with several rows, and notes."""
    if "run" not in frame.columns:
        return [], []
    identity = pd.DataFrame({"run": frame["run"].where(frame["run"] != "", frame["key"])})
    alone = len(identity.groupby("run"))
    there = [name for name in (*N_COLUMNS, "seed") if name in numbers]
    for name in there:
        # A value logged once holds for the whole run.
        known = numbers.groupby(identity["run"])[name].transform("nunique") <= 1
        first = numbers.groupby(identity["run"])[name].transform("first")
        identity[name] = first.where(known, numbers[name])
    groups = identity.groupby(list(identity.columns), dropna=False, sort=False).indices
    notes = []
    if len(groups) > alone:
        notes.append(
            f"{len(groups) - alone} rows share the name of a run with rows of another size or "
            "seed; they count as runs of their own that are not independent."
        )
    return [np.sort(rows) for rows in groups.values() if len(rows) > 1], notes


def spread(numbers: pd.DataFrame, rows: list[Rows]) -> None:
    """Fill, in place, what a run logged in other rows than its loss."""
    values = {str(name): numbers[name].to_numpy(copy=True) for name in numbers}
    steps = values.get("steps", np.full(len(numbers), np.nan))
    for run in rows:
        for name, column in values.items():
            here = column[run]
            gaps = np.isnan(here)
            if name in GROWING and gaps.any():
                column[run] = _between(steps[run], here)
            elif name not in OWN and gaps.any() and not gaps.all():
                known = np.unique(here[~gaps])
                column[run] = np.where(gaps, known[0], here) if len(known) == 1 else here
        if "lr" in values:
            _peak(values, run)
    for name, column in values.items():
        numbers[name] = column


def _between(steps: Floats, values: Floats) -> Floats:
    """Interpolate the gaps of a growing quantity (n,) over steps; unchanged where it cannot."""
    known = np.isfinite(steps) & np.isfinite(values)
    if not known.any():
        return values
    order = np.argsort(steps[known], kind="stable")
    filled = np.interp(steps, steps[known][order], values[known][order])
    return np.where(np.isnan(values) & np.isfinite(steps), filled, values)


def _peak(values: dict[str, Floats], run: Rows) -> None:
    """Turn the lr of each step into the run's peak, and the last one into final_lr_ratio."""
    here = values["lr"][run]
    known = here[np.isfinite(here)]
    if len(known) == 0:
        return
    peak = known.max()
    values["lr"][run] = peak
    if known.min() < peak:
        ratio = values.setdefault("final_lr_ratio", np.full(len(values["lr"]), np.nan))
        blank = np.isnan(ratio[run])
        ratio[run] = np.where(blank, known[-1] / peak, ratio[run])


def settle(
    frame: pd.DataFrame, numbers: pd.DataFrame, status: Labels, runs: list[Rows], *, all_rows: bool
) -> Settled:
    """Decide about the rows of runs, and about runs that stopped short of their plan."""
    out = Settled(np.ones(len(frame), dtype=bool), status.copy())
    keys = frame["key"].to_numpy()
    for run in runs:
        out.keep[run] = False
        _settle_run(out, keys, numbers, run, all_rows=all_rows)
    _short_of_plan(out, numbers, keys)
    return out


def _settle_run(
    out: Settled, keys: Labels, numbers: pd.DataFrame, run: Rows, *, all_rows: bool
) -> None:
    """Keep the last row with a loss; earlier ones become bounds, or are left out in one line."""
    with_loss = run[np.isfinite(numbers["loss"].to_numpy()[run])]
    blank = len(run) - len(with_loss)
    words = [word for word in out.status[run] if word not in ("", "checkpoint")]
    if len(with_loss) == 0:
        word = f" and it is {words[-1]}" if words and words[-1] != "done" else ""
        out.dropped.append((keys[run[-1]], f"none of its {blank} rows has a loss{word}"))
        return
    once = _without_copies(numbers, with_loss)
    place = _place(numbers, run, once)
    left = [(len(with_loss) - len(once), "copies of a row"), (blank, "rows without a loss")]
    if place is None:
        out.keep[once] = True
        out.notes.append(
            f"{keys[run[0]]}: nothing orders its {len(once)} rows in time; all are kept, as runs "
            "that are not independent."
        )
    else:
        last = once[np.flatnonzero(place == place.max())[-1]]
        _end_of(out, keys[last], last, words, place.max())
        earlier = once[once != last]
        # A table of checkpoints, written by --all-rows before, names the bounds it wants kept.
        named = earlier[out.status[earlier] == "checkpoint"]
        out.keep[once if all_rows else [last, *named]] = True
        out.status[earlier] = "checkpoint"
        gone = int((~out.keep[earlier]).sum())
        left.insert(0, (gone, "earlier rows, which are not decayed"))
    told = ", ".join(f"{count} {what}" for count, what in left if count)
    if told:
        out.dropped.append((keys[run[-1]], f"of {len(run)} rows, left out: {told}"))


def _without_copies(numbers: pd.DataFrame, rows: Rows) -> Rows:
    """Return a run's rows without those that a later one repeats (one run in two exports)."""
    columns = [name for name in ("tokens", "steps", "flops") if name in numbers]
    there = [name for name in columns if numbers[name].iloc[rows].notna().any()]
    again: Flags = numbers[[*there[:1], "loss"]].iloc[rows].duplicated(keep="last").to_numpy()
    return rows[~again]


def _place(numbers: pd.DataFrame, run: Rows, with_loss: Rows) -> Floats | None:
    """Return where each row with a loss stands in its run, 1 at the end; None if nothing says.

    By tokens, else steps, else flops. Rows that mostly stand at one place are no history.
    """
    for name in ("tokens", "steps", "flops"):
        column = numbers[name].to_numpy() if name in numbers else np.full(len(numbers), np.nan)
        here = column[with_loss]
        if np.isfinite(here).all() and 2 * len(np.unique(here)) > len(here):
            end = np.nanmax(column[run])
            return here / end if end > 0 else np.ones(len(here))
    return np.ones(1) if len(with_loss) == 1 else None


def _end_of(out: Settled, key: str, last: int, words: list[str], share: float) -> None:
    out.status[last] = words[-1] if words else out.status[last]
    if share < END and out.status[last] in ("", "done"):
        out.status[last] = "checkpoint"
        out.notes.append(
            f"{key}: its last loss was measured at {share:.0%} of the run, so it is only an upper "
            "bound; evaluate at the end."
        )


def _short_of_plan(out: Settled, numbers: pd.DataFrame, keys: Labels) -> None:
    """Mark runs that stopped before their planned steps, unless they say that they ended."""
    if not {"steps", "planned_steps"} <= set(numbers):
        return
    short = (numbers["steps"] < END * numbers["planned_steps"]).to_numpy() & out.keep
    silent = short & (out.status == "")
    out.status[silent] = "unfinished"
    ended = keys[short & (out.status == "done")]
    if len(ended):
        out.notes.append(
            f"{len(ended)} runs say that they ended, yet short of their planned steps "
            f"({', '.join(ended[:3])}{' ...' if len(ended) > 3 else ''}); their losses count as "
            "final."
        )
