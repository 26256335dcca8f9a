"""Doubts about what a row is: a copy, the same seed again, a checkpoint, a run that never ended."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from planner.arrays import Flags
from planner.finding import Finding, Severity
from planner.fit.check.groups import least, numbered, spread
from planner.observations import Observations

ENDED = frozenset({"", "nan", "done", "finished", "completed", "complete", "success", "ok"})
"""Words for a run that ended well; any other status in a row is a doubt."""
CHECKPOINT = re.compile(
    r"^(?P<run>.*?)[-_/@ .:=]*(?:(?:global_)?steps?|iter|ckpt|checkpoint|@)[-_/ .:=]*\d+[kKmM]?$"
)
"""A key that names a run and a step of it."""
LEAST_CHECKPOINTS = 3
CELL_SPREAD = 0.01
"""Losses at one (N, D) that differ by more than 1 % by their lr or batch: a sweep, not a ladder."""


def check_rows(o: Observations) -> Iterator[Finding]:
    """Yield doubts about copies, seeds, checkpoints and unfinished runs."""
    yield from _copies(o)
    yield from _same_seed(o)
    yield from _checkpoints(o)
    yield from _unfinished(o)
    yield from _sweep(o)


def _copies(o: Observations) -> Iterator[Finding]:
    rows = np.nan_to_num(
        np.column_stack([o.params, o.tokens, o.loss, o.lr, o.batch_tokens]), nan=-1.0
    )
    extra = len(rows) - len(np.unique(rows, axis=0))
    if extra:
        yield Finding(
            "duplicate-rows",
            Severity.WARNING,
            f"{extra} rows repeat another row to the last digit of its loss; they count as "
            "evidence twice.",
            "Remove the copies, or check that the seeds of replicates differ.",
        )


def _same_seed(o: Observations) -> Iterator[Finding]:
    """Replicates that name one seed say nothing about the noise between seeds."""
    known = np.isfinite(o.seed)
    columns = (o.params, o.tokens, o.unique_tokens, o.lr, o.batch_tokens, o.warmup_tokens, o.seed)
    rows = np.nan_to_num(np.column_stack(columns), nan=-1.0)[known]
    _, index, count = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    losses, schedules = o.loss[known], o.schedule[known]
    twice = [
        k
        for k in np.flatnonzero(count > 1)
        if len(np.unique(losses[index.ravel() == k])) > 1
        and len(np.unique(schedules[index.ravel() == k])) == 1
    ]
    if twice:
        repeats = int(count[twice].sum()) - len(twice)
        yield Finding(
            "duplicate-seeds",
            Severity.WARNING,
            f"{repeats} rows repeat another run's size, tokens, lr, batch and seed: they show the "
            "machine's noise, not the noise between seeds.",
            "Repeat them with seeds of their own, or keep one of each.",
            float(sum(o.flops[known][index.ravel() == k][0] for k in twice)),
        )


def _checkpoints(o: Observations) -> Iterator[Finding]:
    """Keys that name a run and a step, while the rows count as independent."""
    found = [CHECKPOINT.match(key) for key in o.key]
    runs = [match["run"] if match else "" for match in found]
    crowded = [
        run
        for run in set(runs) - {""}
        if runs.count(run) >= LEAST_CHECKPOINTS
        and len({g for g, r in zip(o.group, runs, strict=True) if r == run}) > 1
    ]
    if crowded:
        rows = sum(runs.count(run) for run in crowded)
        yield clustered(
            f"{rows} rows are checkpoints of {len(crowded)} runs by their keys, yet count as "
            "independent runs"
        )


def clustered(what: str) -> Finding:
    """Return the doubt that rows are less independent than they claim."""
    return Finding(
        "clustered-rows",
        Severity.WARNING,
        f"{what}. Intervals come out too narrow, and losses before the decay too high.",
        "Name the run of each row in the column `parent`, and keep the last, decayed checkpoint "
        "of each run.",
    )


def _unfinished(o: Observations) -> Iterator[Finding]:
    status = np.char.lower(o.status.astype(np.str_))
    open_ended: Flags = np.array([word not in ENDED for word in status]) & ~o.censored
    if open_ended.any():
        words = ", ".join(sorted(set(status[open_ended].tolist())))
        yield Finding(
            "unfinished-runs",
            Severity.WARNING,
            f"{int(open_ended.sum())} rows did not end well ({words}) and count as final losses.",
            "Finish them, drop them, or mark them as censored: their loss is an upper bound.",
            float(o.flops[open_ended].sum()),
        )


def _sweep(o: Observations) -> Iterator[Finding]:
    """Several lr or batches at one (N, D): only the best of a cell lies on the law."""
    cell = numbered(np.column_stack([o.params, o.tokens]))
    recipes = (np.nan_to_num(column, nan=-1.0) for column in (o.lr, o.batch_tokens))
    swept = np.sum([spread(column, cell) > 0 for column in recipes], axis=0) > 0
    high = o.loss > (1.0 + CELL_SPREAD) * least(o.loss, cell)[cell]
    worse = int((high & swept[cell]).sum())
    if worse:
        yield Finding(
            "sweep-rows",
            Severity.WARNING,
            f"{worse} rows are more than {100 * CELL_SPREAD:.0f} % worse than another learning "
            "rate or batch at the same size and tokens: the table holds a sweep, and the law is "
            "fitted to its bad settings too.",
            "Keep the best row of every size and horizon.",
        )
