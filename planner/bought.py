"""What a round has bought: the doubt it took off the target, for what it cost.

    bought = (doubt left before - doubt left after) / cost of the round * unit

for the two doubts of :mod:`planner.decide.standing`: the expected regret of learning rate and
batch, and the width of the loss's 90 % interval, both in nats. It is below zero where a measurement
contradicted what was believed before it. The unit is the largest power of ten that some round
reached, in FLOPs, or one dollar.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias


@dataclass(frozen=True, slots=True)
class Doubt:
    """Nats at the target; no width while there is no law."""

    regret: float
    width: float | None = None


class Bought(NamedTuple):
    """Nats taken off by a unit of cost; None where one side is not known."""

    regret: float | None
    width: float | None

    @property
    def told(self) -> str:
        """The cell of a table: regret, and width where it is known."""
        if self.regret is None:
            return "-"
        return f"{self.regret:+.1g}" + ("" if self.width is None else f", {self.width:+.1g}")


Rounds: TypeAlias = Sequence[tuple[float, Doubt | None]]
"""What each round cost, and the doubt it left."""


def unit_of(costs: Sequence[float]) -> float:
    """Return the largest power of ten that a cost reached; 1 where nothing was spent."""
    most = max(costs, default=0.0)
    return 10.0 ** math.floor(math.log10(most)) if most > 0 else 1.0


def bought(rounds: Rounds, unit: float) -> list[Bought]:
    """Return what each round bought per ``unit`` of cost."""
    found: list[Bought] = []
    before: Doubt | None = None
    for cost, after in rounds:
        if before is None or after is None or not cost > 0:
            found.append(Bought(None, None))
        else:
            scale, width = unit / cost, None
            if before.width is not None and after.width is not None:
                width = scale * (before.width - after.width)
            found.append(Bought(scale * (before.regret - after.regret), width))
        before = after or before
    return found
