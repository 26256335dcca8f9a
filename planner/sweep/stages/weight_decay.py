"""Weight decay at the anchor's best run: a quarter of and four times what the rule gave it.

The rule's timescale tau = batch / (lr D decay) is the middle of three values x4 apart.
"""

from __future__ import annotations

from dataclasses import replace

from planner.sweep.stages.proposal import Proposal
from planner.sweep.stages.seeds import best_anchor_run
from planner.sweep.state import StudyState

STAGE = "weight_decay"
FACTORS = (0.25, 4.0)
"""Weight decays to try, in units of the rule's that the anchor's grid already used."""


def propose(state: StudyState) -> Proposal | None:
    """Ask once for the anchor's best run under a smaller and a larger weight decay."""
    best = best_anchor_run(state)
    if not state.space.stages.weight_decay or state.asked(STAGE) or best is None:
        return None
    decay = best.trial.weight_decay
    trials = tuple(
        replace(best.trial, stage=STAGE, weight_decay=factor * decay) for factor in FACTORS
    )
    return Proposal(trials, "a smaller and a larger weight decay at the anchor's best run")
