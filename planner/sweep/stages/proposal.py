"""What a stage answers with."""

from __future__ import annotations

from dataclasses import dataclass

from planner.run import Trial


@dataclass(frozen=True, slots=True)
class Proposal:
    """The trials a stage wants next, and why, in a sentence for people."""

    trials: tuple[Trial, ...]
    why: str
