"""LR range test at the anchor: a bracket for the grid, never "the" learning rate (science A1)."""

from __future__ import annotations

import math

import numpy as np

from planner.run import Schedule, Trial
from planner.sweep.layout import FINDER_SEEDS, FINDER_STEPS, finder_batch
from planner.sweep.stages.proposal import Proposal
from planner.sweep.state import StudyState

STAGE = "finder"
LR_FROM, LR_TO = 1e-5, 1.0
"""The range: five decades, to a learning rate at which nothing trains."""


def propose(state: StudyState) -> Proposal | None:
    """Ask for one range test per seed, once."""
    able = "finder" in state.proxy.capabilities
    if not (state.space.stages.finder and able) or state.asked(STAGE):
        return None
    batch = finder_batch(state.space)
    trials = tuple(
        Trial(
            stage=STAGE,
            shape=state.layout.anchor.shape,
            tokens=FINDER_STEPS * batch,
            batch_tokens=batch,
            lr=LR_TO,
            warmup_tokens=0,
            schedule=Schedule("finder", final_lr_ratio=LR_FROM / LR_TO),
            seed=state.space.seed + replicate,
        )
        for replicate in range(FINDER_SEEDS)
    )
    return Proposal(trials, f"where the learning rate breaks at the anchor, {FINDER_SEEDS} seeds")


def centre_lr(state: StudyState) -> float:
    """Return where the grid starts: the middle of the user's range, moved into the bracket."""
    axis = state.space.lr
    middle = math.sqrt(axis.low * axis.high)
    found = [run.metrics for run in state.runs_of(STAGE) if run.done and "lr_low" in run.metrics]
    if not found:
        return middle
    low, high = (np.median([metrics[end] for metrics in found]) for end in ("lr_low", "lr_high"))
    return float(np.clip(middle, low, high))
