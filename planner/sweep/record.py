"""From how an attempt ended to the run that is recorded, and what this attempt alone cost.

    spent = FLOPs per token * (tokens - where it began + tokens passed that trained nothing)

An attempt begins where its fork does, or at the state it resumed from. A round of which more than
half failed ends the sweep, and so does one after the grid of learning rates if nothing but
divergence has come of the sweep so far: no learning rate helps then.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from planner.errors import TooManyFailuresError
from planner.proxy import Outcome
from planner.run import Round, Run, Status, Trial
from planner.shape import Size
from planner.sweep.events import Died, Ended


def run_of(trial: Trial, size: Size, event: Ended | Died) -> Run:
    """Return the run of an attempt that ended; one that only died leaves no tokens and no loss."""
    if isinstance(event, Died):
        lost = Outcome(Status.FAILED, math.nan, math.nan, 0, event.note)
        event = Ended(event.key, event.attempt, lost, {}, 0.0, "")
    outcome = event.outcome
    began = max(trial.fork_at, int(outcome.metrics.get("resumed_tokens", 0)))
    besides = outcome.metrics.get("measured_tokens", 0)
    return Run(
        trial=trial,
        key=event.key,
        status=outcome.status,
        loss=outcome.loss,
        loss_se=outcome.loss_se,
        size=size,
        tokens=outcome.tokens,
        spent_flops=size.flops(max(0, outcome.tokens - began) + besides),
        seconds=event.seconds,
        device=event.device,
        host=event.host,
        note=outcome.note,
        attempt=event.attempt,
        metrics=outcome.metrics,
    )


GRIDS = ("finder", "lr_batch")
"""Stages that look for a learning rate; they go on to lower ones by themselves."""


def refuse_divergence(step: Round, runs: Collection[Run]) -> None:
    """Refuse to go on from a ``step`` if all ``runs`` so far diverged. Raises TooManyFailuresError.

    Rounds of ``GRIDS`` may.
    """
    diverged = [run for run in runs if run.status is Status.DIVERGED]
    if step.stage not in GRIDS and len(diverged) == len(runs) > 0:
        rates = sorted(run.trial.lr for run in diverged)
        raise TooManyFailuresError(
            f"all {len(runs)} trials so far diverged, at learning rates from {rates[0]:.3g} to "
            f"{rates[-1]:.3g}; the last says: {diverged[-1].note[:300]}. Lower `lr`, or look for "
            "what makes the loss not finite at any learning rate: the data, the precision"
        )


def refuse_failures(step: Round, runs: Sequence[Run]) -> None:
    """Refuse to go on from a round's ``runs`` if most failed. Raises TooManyFailuresError."""
    failed = [run for run in runs if run.status is Status.FAILED]
    if 2 * len(failed) > len(runs):
        raise TooManyFailuresError(
            f"{len(failed)} of {len(runs)} trials of round {step.number} ({step.stage}) "
            f"failed; the first says: {failed[0].note.strip().splitlines()[-1][:300]}"
        )
