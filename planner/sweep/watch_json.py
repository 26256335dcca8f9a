"""A running sweep as JSON lines on stderr, for machines: one object per round and trial.

Fields carry their units in their names, as everywhere: ``loss`` is nats per token, ``tokens`` the
whole path from step 0, ``spent_flops`` of the study so far.
"""

from __future__ import annotations

import sys
import time

from planner._log import encode_line
from planner._secrets import hide
from planner.run import Round, Run, Trial
from planner.sweep.events import Died, Progress


class JsonWatch:
    """One line per event, ``{"time": ..., "event": ..., ...}``; numbers that are none are null."""

    def __init__(self, budget: float) -> None:
        self._budget = budget
        self._round: dict[str, int | str] = {}

    def round_begins(self, step: Round, waiting: int, spent: float) -> None:
        """Tell that a round begins or goes on."""
        self._round = {"round": step.number, "stage": step.stage}
        self._say("round", trials=waiting, why=step.why, spent_flops=spent)

    def progress(self, event: Progress, trial: Trial) -> None:
        """Tell how far a trial is."""
        share = event.tokens / trial.tokens
        told = {"tokens": event.tokens, "train_loss": event.loss, "share": share}
        self._say("progress", key=event.key, attempt=event.attempt, **told)

    def died(self, event: Died, trial: Trial) -> None:
        """Tell that a worker died under a trial."""
        self._say("died", key=event.key, attempt=event.attempt, note=event.note)

    def ended(self, run: Run, spent: float) -> None:
        """Tell how a trial ended."""
        told = {
            "status": run.status.value,
            "loss": run.loss,
            "tokens": run.tokens,
            "flops": run.flops,
            "spent_flops": spent,
            "budget_flops": self._budget,
            "seconds": run.seconds,
            "note": run.note,
        }
        self._say("ended", key=run.key, attempt=run.attempt, **told)

    def round_ends(self, step: Round, known: object) -> None:
        """Tell that every trial of a round has ended."""
        self._say("round_ended")

    def _say(self, event: str, **told: object) -> None:
        facts = {"time": round(time.time(), 3), "event": event} | self._round | told
        facts = {n: None if v != v else v for n, v in facts.items()}
        print(hide(encode_line(facts).rstrip()), file=sys.stderr, flush=True)  # noqa: T201
