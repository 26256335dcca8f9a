"""A number never travels alone: value, interval, level and how the interval was made."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from planner.arrays import Floats

LEVEL = 0.9
"""The level of every interval unless the user asks for another."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its two-sided interval.

    ``method`` says what the interval holds, for instance ``"predictive: draws + discrepancy"``
    (contracts.md section 1 keeps the statistical and the predictive kind apart).
    """

    value: float
    low: float
    high: float
    level: float = LEVEL
    method: str = ""

    def __post_init__(self) -> None:
        if not (self.low <= self.value <= self.high):
            raise ValueError(f"the interval [{self.low}, {self.high}] misses {self.value}")

    @property
    def relative_width(self) -> float:
        """Width of the interval over its value."""
        return (self.high - self.low) / abs(self.value)

    def scaled(self, factor: float) -> Estimate:
        """Return the same estimate in another unit (``factor`` > 0)."""
        return Estimate(
            self.value * factor, self.low * factor, self.high * factor, self.level, self.method
        )

    def contains(self, value: float) -> bool:
        """Say whether ``value`` lies inside the interval."""
        return self.low <= value <= self.high

    def to_json(self) -> dict[str, Any]:
        """Return {value, low, high, level, method}."""
        return asdict(self)

    @classmethod
    def exactly(cls, value: float, method: str = "chosen") -> Estimate:
        """Return a number that was chosen, not estimated: its interval is the point."""
        return cls(value, value, value, 1.0, method)

    @classmethod
    def from_draws(
        cls, draws: Floats, *, level: float = LEVEL, method: str, value: float | None = None
    ) -> Estimate:
        """Summarise draws (1-D, finite) by their median, or a given value, and central interval."""
        low, median, high = np.quantile(draws, [(1 - level) / 2, 0.5, (1 + level) / 2])
        centre = float(median) if value is None else value
        return cls(centre, min(float(low), centre), max(float(high), centre), level, method)
