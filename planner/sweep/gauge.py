"""How far a sweep is and how long the rest takes, stage by stage.

    left = sum over stages of (expected FLOPs - spent there) * the stage's seconds per FLOP / slots

A stage that has ended no trial yet is taken at the pace of the dearest trial so far: what is left
is mostly larger than what is done, and larger trials waste less. Nothing is decided by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(slots=True)
class _Stage:
    """A stage's expected FLOPs, and the FLOPs and device seconds of its ended trials."""

    price: float = 0.0
    flops: float = 0.0
    seconds: float = 0.0


class Gauge:
    """The stages of a layout, ``prices`` in the order they come, against what they have used."""

    def __init__(self, prices: Mapping[str, float]) -> None:
        self._stages = {name: _Stage(price) for name, price in prices.items()}
        self._dearest = (0.0, 0.0)
        self._reached = 0

    def decided(self, stages: set[str]) -> None:
        """Take in that a round of these stages was decided: those before them are over."""
        places = [place for place, name in enumerate(self._stages) if name in stages]
        self._reached = max(self._reached, min(places, default=0))

    def ended(self, stage: str, flops: float, seconds: float) -> None:
        """Take in what a trial of a stage has used."""
        used = self._stages.setdefault(stage, _Stage())
        used.flops += flops
        used.seconds += seconds
        if flops > self._dearest[0]:
            self._dearest = flops, seconds

    def seconds_left(self, slots: int) -> float | None:
        """Return the seconds the rest is expected to take; None while no trial has ended."""
        if not self._dearest[1]:
            return None
        pace = self._dearest[1] / self._dearest[0]
        left = 0.0
        for place, stage in enumerate(self._stages.values()):
            if place >= self._reached:
                own = stage.seconds / stage.flops if stage.flops else pace
                left += max(0.0, stage.price - stage.flops) * own
        return left / slots
