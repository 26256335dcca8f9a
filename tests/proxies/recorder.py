"""A context that plays the worker: it keeps what a proxy reports."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from planner.proxy import StopTrial


@dataclass
class Recorder:
    """A context that keeps what it is told; ``stop_at`` plays the worker that ends a trial."""

    checkpoint_dir: Path
    parent: Path | None = None
    device: str = "cpu"
    stop_at: int = sys.maxsize
    resumed_at: int = 0
    alike: dict[int, int] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)

    def report(self, *, tokens: int, loss: float, **values: float) -> None:
        self.curve.append({"tokens": tokens, "loss": loss, **values})
        if tokens >= self.stop_at:
            raise StopTrial

    def heed(self) -> None:
        """Do nothing: a trial is stopped at a report."""

    def give_way(self, tokens: int) -> None:
        """Do nothing: nobody wants the machine back."""

    def resumed(self, tokens: int) -> None:
        self.resumed_at = tokens
