"""Which curves one schedule law can be fitted to: those of one size, peak learning rate and batch.

A fork's curve begins where it left its trunk; the path its learning rate took before is the
trunk's, so the two are joined, and the trunk's points stay with the trunk.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from planner.arrays import Floats
from planner.curve import Curve
from planner.errors import UsageError
from planner.fit.schedule.path import Path
from planner.observations import Observations
from planner.run import Run

LEAST_POINTS = 8
"""A shorter curve is left out."""
MOST_POINTS = 200
"""Longer curves are averaged over neighbours: a law is smooth, and its fit takes seconds."""
SAME_PEAK = 0.01
"""Peak learning rates this close, in ln, are one."""
DECAYED = 0.9
"""A run that has come below this share of its peak has begun to decay."""
DIFFERENT = 0.05
"""Share of the peak by which two paths must differ somewhere to be two schedules."""


@dataclass(frozen=True)
class Trace:
    """One run: the path of its learning rate from step 0, and losses (n,) at times ``at`` (n,).

    ``unit`` is tokens or steps.
    """

    run: str
    unit: str
    path: Path
    at: Floats
    loss: Floats

    @property
    def decays(self) -> bool:
        """Say whether the learning rate has begun to fall at its last point."""
        return bool(self.path.rate_at(self.at[-1:])[0] < DECAYED * self.path.peak)

    def differs(self, other: Trace) -> bool:
        """Say whether the two learning rates went apart while both ran."""
        begin = max(self.path.at[0], other.path.at[0])
        end = min(self.path.at[-1], other.path.at[-1])
        times = np.linspace(begin, end, 513)
        gap = np.abs(self.path.rate_at(times) - other.path.rate_at(times))
        return bool(gap.max() > DIFFERENT * self.path.peak)


def trace_of(curve: Curve, trunk: Curve | None = None, fork_at: float = 0.0) -> Trace | None:
    """Return a curve as a trace; None when its points or learning rates are too few.

    ``trunk`` gives the learning rates before ``fork_at`` (tokens).
    """
    told = bool(np.isfinite(curve.tokens).all())
    unit, at = ("tokens", curve.tokens) if told else ("steps", curve.step)
    lr = curve.lr
    if trunk is not None:
        before = trunk.tokens <= fork_at
        at = np.concatenate([trunk.tokens[before], at])
        lr = np.concatenate([trunk.lr[before], lr])
    known = np.isfinite(lr)
    known[1:] &= np.diff(np.maximum.accumulate(at)) > 0
    own = np.isfinite(curve.loss) & (curve.loss > 0)
    if known.sum() < 2 or own.sum() < LEAST_POINTS:
        return None
    try:
        path = Path.recorded(at[known], lr[known])
    except UsageError:
        return None
    times, loss = at[len(at) - len(curve) :][own], curve.loss[own]
    after = (times > path.at[0]) & (times <= path.at[-1])
    if after.sum() < LEAST_POINTS:
        return None
    return Trace(curve.run, unit, path, *_thinned(times[after], loss[after]))


def _thinned(at: Floats, loss: Floats) -> tuple[Floats, Floats]:
    """Average neighbours where there are too many points: times, and losses as logs."""
    if len(at) <= MOST_POINTS:
        return at, loss
    groups = np.array_split(np.arange(len(at)), MOST_POINTS)
    log_loss = np.log(loss)
    means = [(at[rows].mean(), np.exp(log_loss[rows].mean())) for rows in groups]
    return np.array([m[0] for m in means]), np.array([m[1] for m in means])


def largest_group(groups: Mapping[Hashable, Sequence[Trace]]) -> tuple[Trace, ...]:
    """Return the group that decays in most ways, then of most points; runs by their names."""

    def worth(group: Sequence[Trace]) -> tuple[int, int]:
        ways = distinct(group) if any(trace.decays for trace in group) else 0
        return ways, sum(len(trace.at) for trace in group)

    best = max(groups.values(), key=worth, default=())
    return tuple(sorted(best, key=lambda trace: trace.run))


def traces_of_table(curves: Sequence[Curve], o: Observations | None) -> dict[Hashable, list[Trace]]:
    """Group the curves of a table by peak lr, and by size and batch where their runs are known."""
    groups: dict[Hashable, list[Trace]] = defaultdict(list)
    row = {key: i for i, key in enumerate(o.key)} if o is not None else {}
    for trace in filter(None, map(trace_of, curves)):
        known: tuple[float, ...] = ()
        if o is not None and trace.run in row:
            i = row[trace.run]
            known = (float(o.params[i]), _or_zero(o.batch_tokens[i]))
        peak = round(np.log(trace.path.peak) / SAME_PEAK)
        groups[trace.unit, peak, known].append(trace)
    return groups


def traces_of_runs(runs: Sequence[Run], curves: Sequence[Curve]) -> dict[Hashable, list[Trace]]:
    """Group the curves of a study's finished runs by shape, learning rate and batch.

    Forks are joined to their trunks; range tests are left out.
    """
    of_run = {curve.run: curve for curve in curves}
    groups: dict[Hashable, list[Trace]] = defaultdict(list)
    for run in runs:
        trial = run.trial
        lacks_trunk = trial.parent is not None and trial.parent not in of_run
        if not run.done or trial.schedule.name == "finder" or run.key not in of_run or lacks_trunk:
            continue
        trunk = of_run[trial.parent] if trial.parent else None
        trace = trace_of(of_run[run.key], trunk, trial.fork_at)
        if trace is not None:
            shape = json.dumps(dict(trial.shape), sort_keys=True, default=str)
            groups[shape, trial.lr, trial.batch_tokens].append(trace)
    return groups


def distinct(traces: Sequence[Trace]) -> int:
    """Return how many different schedules the traces follow."""
    kept: list[Trace] = []
    for trace in traces:
        if all(trace.differs(other) for other in kept):
            kept.append(trace)
    return len(kept)


def _or_zero(value: float) -> float:
    return float(value) if np.isfinite(value) else 0.0
