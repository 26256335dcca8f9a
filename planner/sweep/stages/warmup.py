"""Warmup at the anchor's best run: a quarter of and four times the default it was run with."""

from __future__ import annotations

from dataclasses import replace

from planner.sweep.stages.proposal import Proposal
from planner.sweep.stages.seeds import best_anchor_run
from planner.sweep.state import StudyState
from planner.sweep.trials import whole_steps

STAGE = "warmup"
FACTORS = (0.25, 4.0)
"""Warmups to try, in units of the default that the anchor's grid already used."""


def propose(state: StudyState) -> Proposal | None:
    """Ask once for the anchor's best run under a shorter and a longer warmup."""
    best = best_anchor_run(state)
    if not state.space.stages.warmup or state.asked(STAGE) or best is None:
        return None
    trial = best.trial
    trials = tuple(
        replace(
            trial,
            stage=STAGE,
            warmup_tokens=whole_steps(factor * trial.warmup_tokens, trial.batch_tokens),
        )
        for factor in FACTORS
    )
    return Proposal(trials, "a shorter and a longer warmup at the anchor's best run")
