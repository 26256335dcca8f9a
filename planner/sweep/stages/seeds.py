"""Seed noise: the best anchor run again with other seeds, so that every effect has a yardstick."""

from __future__ import annotations

from dataclasses import replace

from planner.run import Run
from planner.sweep.layout import finder_batch
from planner.sweep.stages import lr_batch
from planner.sweep.stages.finder import centre_lr
from planner.sweep.stages.proposal import Proposal
from planner.sweep.state import StudyState
from planner.sweep.trials import swept_trial

STAGE = "seeds"


def propose(state: StudyState) -> Proposal | None:
    """Ask once for the missing replicates of the anchor's best run."""
    if state.space.stages.seeds < 2 or state.asked(STAGE):
        return None
    best = best_anchor_run(state)
    if best is not None:
        trial = best.trial
    else:
        batch, lr = finder_batch(state.space), centre_lr(state)
        trial = swept_trial(state, STAGE, state.layout.anchor, batch_tokens=batch, lr=lr)
    trials = tuple(
        replace(trial, stage=STAGE, seed=state.space.seed + replicate)
        for replicate in range(1, state.space.stages.seeds)
    )
    return Proposal(trials, "the anchor's best run with other seeds: what noise is worth")


def best_anchor_run(state: StudyState) -> Run | None:
    """Return the anchor run with the lowest loss, if the grid has been run."""
    done = [run for run in state.runs_of(lr_batch.STAGE) if run.done]
    return min(done, key=lambda run: run.loss, default=None)
