"""LR x batch grid at the anchor: coarse (x4 in lr) at every batch, fine (x2) at the best one.

Three points round the minimum and a parabola in ln lr lose .0003 nats on a x2 grid and .0017 on a
x4 grid (science 0.2), so every batch gets the coarse grid and the winner the fine one. A grid
whose minimum is at an edge extends itself until the minimum is interior, in lr and in batch; what
is still at an edge when the allowance is spent is reported as a bound, not as an optimum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from planner.decide.hyper import snap_lr
from planner.sweep.layout import EXTRA_BATCHES, EXTRA_LR, batches, finder_batch
from planner.sweep.stages.finder import centre_lr
from planner.sweep.stages.proposal import Proposal
from planner.sweep.state import StudyState
from planner.sweep.trials import swept_trial

STAGE = "lr_batch"
BATCH_SLOPE = 0.25
"""d ln lr* / d ln B for the first guess: between Adam's square root and a saturated optimum (0),
which published sweeps pass through within a factor of 16 in batch (science 0.3)."""

Grid = dict[int, dict[float, float]]
"""batch_tokens -> lr -> loss; a run without a loss counts as infinitely bad."""


def propose(state: StudyState) -> Proposal | None:
    """Ask for the next points of the grid, or None once its minimum is bracketed and refined."""
    if not state.space.stages.lr_batch:
        return None
    grid = observed_grid(state, STAGE)
    if not grid:
        wanted = {batch: _coarse(state, batch) for batch in batches(state.space)}
        return _proposal(state, wanted, "coarse learning rates at every batch of the anchor")
    step = state.space.lr.factor**2
    wanted = {batch: edge_lrs(row, step) for batch, row in grid.items() if _may_extend(row)}
    if any(wanted.values()):
        return _proposal(
            state, wanted, "minimum at an edge of the learning rates: one step further"
        )
    batch = _beyond(state, grid)
    if batch is not None:
        return _proposal(
            state, {batch: _coarse(state, batch)}, "best batch at an edge: one further"
        )
    best = best_batch(grid)
    fine = neighbour_lrs(grid[best], state.space.lr.factor)
    if fine:
        return _proposal(state, {best: fine}, f"x{state.space.lr.factor:g} grid at {best} tokens")
    return None


def observed_grid(state: StudyState, stage: str) -> Grid:
    """Collect the losses of a stage's runs by batch and learning rate."""
    grid: Grid = {}
    for run in state.runs_of(stage):
        loss = run.loss if run.done else math.inf
        grid.setdefault(run.trial.batch_tokens, {})[run.trial.lr] = loss
    return grid


def edge_lrs(row: Mapping[float, float], step: float) -> list[float]:
    """Return the learning rate one step beyond the edge at which the minimum lies, if it does."""
    lrs = sorted(row)
    best = min(lrs, key=lambda lr: row[lr])
    if not math.isfinite(row[best]) or best == lrs[0]:
        return [snap_lr(lrs[0] / step)]
    if best == lrs[-1]:
        return [snap_lr(lrs[-1] * step)]
    return []


def neighbour_lrs(row: Mapping[float, float], factor: float) -> list[float]:
    """Return the x-factor neighbours of the minimum that have not been tried."""
    best = min(row, key=lambda lr: row[lr])
    wanted = (snap_lr(best / factor), snap_lr(best * factor))
    return [lr for lr in wanted if not any(math.isclose(lr, tried) for tried in row)]


def best_batch(grid: Grid) -> int:
    """Return the batch with the lowest loss over its learning rates."""
    return min(grid, key=lambda batch: min(grid[batch].values()))


def _coarse(state: StudyState, batch: int) -> list[float]:
    """Return three learning rates x4 apart round the finder's, moved with the batch."""
    centre = centre_lr(state) * (batch / finder_batch(state.space)) ** BATCH_SLOPE
    step = state.space.lr.factor**2
    return [snap_lr(centre / step), snap_lr(centre), snap_lr(centre * step)]


def _may_extend(row: Mapping[float, float]) -> bool:
    return len(row) < 3 + EXTRA_LR


def _beyond(state: StudyState, grid: Grid) -> int | None:
    """Return the batch one factor beyond the edge if the best one lies there."""
    if len(grid) >= len(batches(state.space)) + EXTRA_BATCHES:
        return None
    tried, factor = sorted(grid), state.space.batch_tokens.factor
    best = best_batch(grid)
    if best == tried[0]:
        smaller = 2 ** round(math.log2(best / factor))
        return smaller if smaller >= state.min_batch_tokens else None
    if best == tried[-1]:
        larger = int(2 ** round(math.log2(best * factor)))
        return larger if larger <= state.layout.anchor.tokens // 100 else None
    return None


def _proposal(state: StudyState, wanted: Mapping[int, list[float]], why: str) -> Proposal:
    trials = [
        swept_trial(state, STAGE, state.layout.anchor, batch_tokens=batch, lr=lr)
        for batch, lrs in sorted(wanted.items())
        for lr in lrs
    ]
    return Proposal(tuple(trials), why)
