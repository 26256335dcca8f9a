"""Does the optimum move as the law says? Three learning rates at a larger size and horizon."""

from __future__ import annotations

from planner.decide.hyper import rung_hyper
from planner.sweep.layout import CONFIRM_EXTRA, CONFIRM_LRS
from planner.sweep.stages import lr_batch
from planner.sweep.stages.proposal import Proposal
from planner.sweep.state import StudyState
from planner.sweep.trials import swept_trial

STAGE = "confirm"


def propose(state: StudyState) -> Proposal | None:
    """Ask for a x2 grid round the law's learning rate, extended once at an edge."""
    cell = state.layout.confirm
    if cell is None or state.space.stages.confirm == "design":
        return None
    factor = state.space.lr.factor
    grid = lr_batch.observed_grid(state, STAGE)
    if not grid:
        hyper = rung_hyper(
            state.hyper,
            cell.size,
            cell.tokens,
            min_batch_tokens=state.min_batch_tokens,
        )
        batch, lrs = hyper.batch_tokens, [hyper.lr / factor, hyper.lr, hyper.lr * factor]
        why = "learning rates at a larger size and horizon: is the law's optimum there?"
    else:
        (batch, row), *_ = grid.items()
        lrs = lr_batch.edge_lrs(row, factor) if len(row) < CONFIRM_LRS + CONFIRM_EXTRA else []
        why = "minimum at an edge of the learning rates: one step further"
    trials = [swept_trial(state, STAGE, cell, batch_tokens=batch, lr=lr) for lr in lrs]
    return Proposal(tuple(trials), why) if trials else None
