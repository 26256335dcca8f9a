"""What is recommended from the runs that were bought, with its intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from planner.sweep.replay.pool import Seen, Target

LEVELS = (80, 90)
"""Levels of the intervals, in per cent."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Recommended:
    """A learning rate and a batch for the target; intervals of its best ones by level in %."""

    lr: float
    batch_tokens: float
    lr_interval: Mapping[int, Interval]
    batch_interval: Mapping[int, Interval]


class Recommender(Protocol):
    """Turns what was bought into a recommendation; ``without`` names priors it may not use.

    ``steplaw`` stands for everything fitted on the Step Law runs, ``all`` for every prior.
    """

    def __call__(self, seen: Seen, target: Target, without: str) -> Recommended:
        """Return the recommendation; also from nothing seen, where it is the prior's."""
        ...
