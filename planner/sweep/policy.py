"""Which round comes next: a pure function of the search space and of everything that has ended.

    while step := next_step(state): run it, or write the prediction down, and look again

The stages ask in a fixed order, each until it has nothing more to ask. The version is stored with
every decided round; stored rounds are replayed, never recomputed (contracts.md section 2).
"""

from __future__ import annotations

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
from planner.sweep.state import StudyState

POLICY_VERSION = "1"

STAGES = (
    (finder.STAGE, finder.propose),
    (lr_batch.STAGE, lr_batch.propose),
    (seeds.STAGE, seeds.propose),
    (confirm.STAGE, confirm.propose),
    (design.STAGE, design.propose),
    (warmup.STAGE, warmup.propose),
    (weight_decay.STAGE, weight_decay.propose),
    (ladder.STAGE, ladder.propose),
    (held_out.STAGE, held_out.propose),
)
"""The questions in the order of their value for the plan (science H)."""


def next_round(state: StudyState) -> Round | None:
    """Return the next round, or None when every stage is satisfied."""
    for stage, propose in STAGES:
        proposal = propose(state)
        if proposal is not None:
            trials = tuple(replace(trial, stage=stage) for trial in proposal.trials)
            return Round(len(state.rounds) + 1, stage, trials, proposal.why)
    return None


def wants_prediction(state: StudyState) -> bool:
    """Say whether the ladder is complete and the held-out rung waits for its prediction."""
    return (
        state.space.stages.held_out is not None
        and state.prediction is None
        and bool(state.rounds_of(ladder.STAGE))
        and next_round(state) is None
    )


def audit(state: StudyState) -> list[str]:
    """Recompute every stored decision; return a sentence for each that differs today."""
    sentences = []
    for index, stored in enumerate(state.rounds):
        before = replace(state, rounds=state.rounds[:index], runs=_known_at(state, index))
        again = next_round(before)
        if again != stored:
            sentences.append(
                f"round {stored.number} ({stored.stage}): today's policy would propose "
                f"{len(again.trials) if again else 0} other trials"
            )
    return sentences


def _known_at(state: StudyState, index: int) -> dict[str, Run]:
    """Return the runs of the rounds before a given one."""
    keys = {state.key(trial) for entry in state.rounds[:index] for trial in entry.trials}
    return {key: run for key, run in state.runs.items() if key in keys}
