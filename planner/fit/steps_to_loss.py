"""Steps to one loss, read off training curves at several batches: what a critical batch asks for.

    target    the loss the slowest batch comes to before its cooldown, at its best learning rate
    steps(B)  where the curve first stays at or below it, at the vertex of a parabola of ln steps
              over ln lr (the best of fewer than three learning rates, or of an edge)

A curve counts until its learning rate falls: in a cooldown the loss drops whatever the batch. So
these are steps at a constant learning rate, where a small batch still carries its noise, as in
McCandlish 2018; after a cooldown small batches do better than this says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planner.arrays import Floats
from planner.curve import Curve
from planner.errors import EvidenceError
from planner.finding import Finding, Severity
from planner.fit.critical_batch import StepsToLoss
from planner.observations import Observations
from planner.run import Run

FEWEST_BATCHES = 3
UNIDENTIFIED = "critical-batch-unidentified"
STEADY = 0.9
"""Share of the highest learning rate below which a cooldown has begun."""
SMOOTHED = 5
"""Points averaged before a curve is said to have come to a loss."""
NEAR, FEWEST_NEAR = 1.5, 6
"""The crossing is that of a straight line in ln loss over ln tokens, through the points within this
factor of it, so many at least."""
LAST = 0.25
"""Last share of the steady points whose mean is what a run came to."""


@dataclass(frozen=True)
class Swept:
    """A run of a batch sweep: its parameters, batch and planned tokens, and its curve."""

    params: float
    batch_tokens: float
    tokens: float
    curve: Curve


@dataclass(frozen=True)
class Reached:
    """Steps to ``loss`` at several batches, and the runs they were read off."""

    curve: StepsToLoss
    loss: float
    runs: tuple[str, ...]


@dataclass(frozen=True)
class _Steady:
    """A run before its cooldown: peak learning rate, tokens (n,) and ln loss (n,)."""

    run: str
    lr: float
    at: Floats
    log_loss: Floats

    @property
    def lowest(self) -> float:
        """What the run came to."""
        return float(self.log_loss[-max(SMOOTHED, int(LAST * len(self.at))) :].mean())

    def tokens_to(self, target: float) -> float:
        """Return the tokens at which ln loss comes to ``target``.

        nan where it does not, and where it had before the first points.
        """
        smooth = np.convolve(self.log_loss, np.ones(SMOOTHED) / SMOOTHED, "valid")
        if smooth[0] <= target or not (smooth <= target).any():
            return np.nan
        first = int(np.argmax(smooth <= target)) + SMOOTHED // 2
        x = np.log(self.at / self.at[first])
        near = np.argsort(np.abs(x), kind="stable")[
            : max(FEWEST_NEAR, (np.abs(x) < np.log(NEAR)).sum())
        ]
        slope, level = np.polyfit(x[near], self.log_loss[near], 1)
        if slope >= 0:
            return float(self.at[first])
        shift = np.clip((target - level) / slope, x[near].min(), x[near].max())
        return float(self.at[first] * np.exp(shift))


def swept_runs(runs: Sequence[Run], curves: Sequence[Curve]) -> list[Swept]:
    """Pair a study's finished runs with their curves."""
    of_run = {curve.run: curve for curve in curves}
    return [
        Swept(r.size.params_matmul, r.trial.batch_tokens, r.tokens, of_run[r.key])
        for r in runs
        if r.done and r.key in of_run
    ]


def swept_rows(o: Observations, curves: Sequence[Curve]) -> list[Swept]:
    """Pair a table's rows with their curves; rows of unknown batch are left out."""
    of_run = {curve.run: curve for curve in curves}
    return [
        Swept(float(o.params[i]), float(o.batch_tokens[i]), float(o.tokens[i]), of_run[key])
        for i, key in enumerate(o.key)
        if key in of_run and o.batch_tokens[i] > 0
    ]


def reached_by_size(swept: Sequence[Swept]) -> tuple[tuple[Reached, ...], tuple[Finding, ...]]:
    """Read every size that comes at enough batches; a finding for each that cannot be read."""
    sizes: dict[float, list[Swept]] = defaultdict(list)
    for run in swept:
        sizes[run.params].append(run)
    found, unread = [], []
    for params, runs in sorted(sizes.items()):
        if len({run.batch_tokens for run in runs}) < FEWEST_BATCHES:
            continue
        try:
            found.append(steps_to_loss(runs))
        except EvidenceError as error:
            what = f"At {params:.3g} parameters no critical batch was read off the curves: {error}."
            unread.append(Finding(UNIDENTIFIED, Severity.INFO, what))
    return tuple(found), tuple(unread)


def steps_to_loss(runs: Sequence[Swept]) -> Reached:
    """Read the steps to one loss off the runs of one size. Raises EvidenceError with the reason."""
    by_batch: dict[float, list[_Steady]] = defaultdict(list)
    for run in runs:
        if (steady := _steady(run)) is not None:
            by_batch[run.batch_tokens].append(steady)
    if len(by_batch) < FEWEST_BATCHES:
        raise EvidenceError(
            f"curves that hold a steady learning rate come at {len(by_batch)} batch sizes, "
            f"{FEWEST_BATCHES} are needed"
        )
    target = max(min(one.lowest for one in row) for row in by_batch.values())
    steps = {batch: _fewest(row, target) / batch for batch, row in sorted(by_batch.items())}
    told = {batch: count for batch, count in steps.items() if np.isfinite(count)}
    if len(told) < FEWEST_BATCHES:
        raise EvidenceError(
            f"a loss of {np.exp(target):.3g} is reached at {len(told)} batch sizes only, "
            f"{FEWEST_BATCHES} are needed"
        )
    curve = StepsToLoss(
        runs[0].params,
        float(np.median([run.tokens for run in runs])),
        np.array(list(told)),
        np.array(list(told.values())),
    )
    used = tuple(sorted(one.run for batch in told for one in by_batch[batch]))
    return Reached(curve, float(np.exp(target)), used)


def _steady(run: Swept) -> _Steady | None:
    """Return the points before the cooldown; None where they or the learning rates are too few."""
    curve = run.curve
    at = np.where(np.isnan(curve.tokens), curve.step * run.batch_tokens, curve.tokens)
    if not np.isfinite(curve.lr).any():
        return None
    peak = float(np.nanmax(curve.lr))
    begun = int(np.argmax(curve.lr >= STEADY * peak))
    falls = np.flatnonzero(curve.lr[begun:] < STEADY * peak)
    end = begun + int(falls[0]) if len(falls) else len(at)
    if 2 * begun > end:  # a warmup most of the way: a range test, or a cosine's first steps
        return None
    sound = np.isfinite(curve.loss[:end]) & (curve.loss[:end] > 0) & (at[:end] > 0)
    if sound.sum() < 2 * SMOOTHED:
        return None
    return _Steady(curve.run, peak, at[:end][sound], np.log(curve.loss[:end][sound]))


def _fewest(row: Sequence[_Steady], target: float) -> float:
    """Return the tokens to the target at the best learning rate; nan where none comes to it."""
    found = {one.lr: one.tokens_to(target) for one in row}
    lr, tokens = (
        np.array([(k, found[k]) for k in sorted(found) if np.isfinite(found[k])]).reshape(-1, 2).T
    )
    if not len(lr):
        return np.nan
    best = int(np.argmin(tokens))
    if best in (0, len(lr) - 1):
        return float(tokens[best])
    around = slice(best - 1, best + 2)
    quadratic, slope, level = np.polyfit(np.log(lr[around] / lr[best]), np.log(tokens[around]), 2)
    return float(np.exp(level - slope**2 / (4 * quadratic))) if quadratic > 0 else tokens[best]
