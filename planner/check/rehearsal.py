"""A trial run for its own sake: what a proxy reports, how it ends, and whether it can be stopped.

The context a proxy gets here is the sweep's as far as a proxy can see, and writes everything down.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from planner.proxy import Outcome, Preempted, Proxy, StopTrial
from planner.run import Status, Trial


@dataclass(slots=True)
class Rehearsal:
    """One trial, seen from outside.

    ``reports`` are the points in their order (tokens, loss and what else was told), ``outcome`` is
    None where the trial raised: then ``stopped`` says that it was the stop it had been given, and
    ``error`` is the end of any other traceback. ``wrong`` says what is wrong with what it returned.
    """

    checkpoint_dir: Path
    parent: Path | None = None
    stop_at: float = math.inf
    device: str = "cpu"
    alike: Mapping[int, int] = field(default_factory=dict)
    reports: list[dict[str, float]] = field(default_factory=list)
    resumed_at: int = 0
    outcome: Outcome | None = None
    stopped: bool = False
    error: str = ""
    wrong: str = ""
    stop_with: type[StopTrial] = Preempted

    def report(self, *, tokens: int, loss: float, **values: float) -> None:
        """Write a point down; stop the trial once it has come to ``stop_at`` tokens."""
        self.reports.append({"tokens": float(tokens), "loss": float(loss)} | values)
        if not math.isfinite(loss):
            raise StopTrial(f"the loss became {loss}")
        if tokens >= self.stop_at:
            raise self.stop_with(f"asked to leave at {tokens} tokens")

    def heed(self) -> None:
        """Do nothing: a rehearsal is stopped at a report."""

    def resumed(self, tokens: int) -> None:
        """Write down where training went on from."""
        self.resumed_at = tokens

    def give_way(self, tokens: int) -> None:
        """Say nothing: only a report stops a rehearsal."""

    def run(self, proxy: Proxy, trial: Trial) -> Rehearsal:
        """Train the trial; what it raises is part of what is seen."""
        self.checkpoint_dir.mkdir(parents=True, exist_ok=True)
        try:
            outcome = proxy.train(trial, self)
            self.wrong = _what_is_wrong(outcome)
            self.outcome = None if self.wrong else outcome
        except StopTrial:
            self.stopped = True
        except (Exception, SystemExit):
            self.error = traceback.format_exc().strip()
        return self

    @property
    def loss(self) -> float:
        """The final loss; nan unless the trial ended well."""
        done = self.outcome is not None and self.outcome.status is Status.DONE
        return float(self.outcome.loss) if self.outcome is not None and done else math.nan

    @property
    def trouble(self) -> str:
        """Why there is no loss, in a few words; empty if there is one."""
        if math.isfinite(self.loss):
            return ""
        if self.wrong:
            return self.wrong
        if self.error:
            return f"it raised {self.error.splitlines()[-1][:300]}"
        if self.outcome is None:
            return "it stopped itself"
        note = self.outcome.note.strip().splitlines()
        status = self.outcome.status.value
        if self.outcome.status is Status.DONE:
            return f"it is `done` with a loss of {self.outcome.loss}"
        return f"it ended as `{status}`" + (f": {note[-1][:300]}" if note else "")


def _what_is_wrong(outcome: object) -> str:
    """Say why what ``train`` returned is no outcome; empty if it is one."""
    if not isinstance(outcome, Outcome):
        return f"train() returned {outcome!r:.80}, no planner.proxy.Outcome"
    if not isinstance(outcome.status, Status):
        return f"its Outcome has the status {outcome.status!r:.80}, no planner.run.Status"
    for name in ("loss", "loss_se", "tokens"):
        try:
            float(getattr(outcome, name) + 0)
        except (TypeError, ValueError):
            return f"its Outcome has a `{name}` that is no number: {getattr(outcome, name)!r:.80}"
    return ""
