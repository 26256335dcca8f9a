"""Runs that save most regret of the recommended learning rate and batch, while they are worth it.

In the place of the confirmation, and for no more than it would cost at its widest: a quarter of
that a round, until no run saves the target more than it costs (:mod:`planner.sweep.worth`).
"""

from __future__ import annotations

from planner.sweep.layout import confirm_flops
from planner.sweep.stages.proposal import Proposal
from planner.sweep.state import StudyState
from planner.sweep.worth import STAGE, Question

__all__ = ["STAGE", "propose"]

ROUNDS = 4
"""Rounds the allowance is spread over: later ones know what the earlier found."""


def propose(state: StudyState) -> Proposal | None:
    """Ask for the next runs that pay, within what is left of the allowance."""
    if state.space.stages.confirm != "design" or state.layout.confirm is None:
        return None
    allowance = confirm_flops(state.layout.confirm)
    left = allowance - sum(state.cost(t) for trials in state.asked(STAGE) for t in trials)
    question = Question.of(state)
    worth = [w for w in question.ranked(left, min(left, allowance / ROUNDS)) if w.pays]
    if not worth:
        return None
    saves = sum(w.saves_nats for w in worth)
    why = f"expected to save {saves:.2g} of {question.regret:.2g} nats of regret at the target"
    return Proposal(tuple(trial for w in worth for trial in w.trials), why)
