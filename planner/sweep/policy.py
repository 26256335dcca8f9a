"""Which round comes next: a pure function of the search space and of everything that has ended.

    while step := next_step(state): run it, or write the prediction down, and look again

The stages ask in a fixed order, each until it has nothing more to ask. Stages of one group do not
wait for each other: what they ask for at the same time shares a round, so that fewer slots idle
while the last trial of a round ends. The version is stored with every decided round; stored rounds
are replayed, never recomputed (contracts.md section 2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from planner.run import Round, Run
from planner.sweep.stages import (
    confirm,
    design,
    finder,
    held_out,
    ladder,
    lr_batch,
    seeds,
    warmup,
    weight_decay,
)
from planner.sweep.stages.proposal import Proposal
from planner.sweep.state import StudyState

POLICY_VERSION = "2"
"""2: seeds, confirm, warmup and weight decay share a round (1: one round for each)."""

Ask = Callable[[StudyState], Proposal | None]

GROUPS: tuple[dict[str, Ask], ...] = (
    {finder.STAGE: finder.propose},
    {lr_batch.STAGE: lr_batch.propose},
    {
        seeds.STAGE: seeds.propose,
        confirm.STAGE: confirm.propose,
        warmup.STAGE: warmup.propose,
        weight_decay.STAGE: weight_decay.propose,
    },
    {design.STAGE: design.propose},
    {ladder.STAGE: ladder.propose},
    {held_out.STAGE: held_out.propose},
)
"""The questions in the order of their value for the plan (science H); those of the third group all
build on the anchor's grid, and none on another's answer."""


def next_round(state: StudyState) -> Round | None:
    """Return the next round, or None when every stage is satisfied."""
    for group in GROUPS:
        asked = {stage: found for stage, propose in group.items() if (found := propose(state))}
        if asked:
            return _round(len(state.rounds) + 1, asked)
    return None


def _round(number: int, asked: dict[str, Proposal]) -> Round:
    trials = tuple(
        replace(trial, stage=stage)
        for stage, proposal in asked.items()
        for trial in proposal.trials
    )
    why = "; ".join(proposal.why for proposal in asked.values())
    return Round(number, "+".join(asked), trials, why)


def wants_prediction(state: StudyState) -> bool:
    """Say whether the ladder is complete and the held-out rung waits for its prediction."""
    return (
        state.space.stages.held_out is not None
        and state.prediction is None
        and bool(state.asked(ladder.STAGE))
        and next_round(state) is None
    )


def audit(state: StudyState, policies: Sequence[str] = ()) -> list[str]:
    """Recompute every stored decision; return a sentence for each that differs today.

    ``policies`` are the versions that took the decisions, today's where it is not said. A decision
    of another version whose trials today's policy would ask for at that point, in a round with
    others, is told as that.
    """
    sentences = []
    for index, stored in enumerate(state.rounds):
        before = replace(state, rounds=state.rounds[:index], runs=_known_at(state, index))
        again = next_round(before)
        if again != stored:
            policy = policies[index] if index < len(policies) else POLICY_VERSION
            sentences.append(_difference(stored, again, policy))
    return sentences


def _difference(stored: Round, again: Round | None, policy: str) -> str:
    told = f"round {stored.number} ({stored.stage})"
    if policy != POLICY_VERSION:
        told += f", decided by policy {policy}"
    if again is None:
        return f"{told}: today's policy would propose no trial here"
    others = sum(trial not in stored.trials for trial in again.trials)
    if policy != POLICY_VERSION and len(again.trials) - others == len(stored.trials):
        return (
            f"{told}: today's policy ({POLICY_VERSION}) would propose the same trials, in one "
            f"round ({again.stage}) with {others} others"
        )
    return f"{told}: today's policy would propose {len(again.trials)} other trials"


def _known_at(state: StudyState, index: int) -> dict[str, Run]:
    """Return the runs of the rounds before a given one."""
    keys = {key for entry in state.rounds[:index] for key in state.keys_of(entry)}
    return {key: run for key, run in state.runs.items() if key in keys}
