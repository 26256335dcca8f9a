"""When a trial that says nothing counts as hanging.

    patience  = max(LEAST_SECONDS, SLACK * max(longest silence of this attempt, share * predicted))
    predicted = FLOPs of the trial / FLOP/s of the ended runs of the nearest size
    share     = the largest part of a long attempt that passed in silence; 1 until one has ended

Before any run has ended, the attempt's age at its last sign of life stands for the prediction, and
UNKNOWN_SECONDS for the patience with one that gave none. Time passes here only while the driver is
awake: a driver that was stopped, or a clock that was set, makes no trial hang. A trial that is
stopped for nothing is tried again and leaves the same record, so none of this steers a sweep.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from planner.run import Run
from planner.units import format_duration

LEAST_SECONDS = 120.0
"""Starting up, compiling and evaluating are silent too."""

SLACK = 10.0
"""By how much a trial may be slower than those before it: another device, a busy file system."""

UNKNOWN_SECONDS = 12 * 3600.0
"""Patience with a trial nothing is known of: a trainer may be silent until it ends."""

AWAKE_SECONDS = 5.0
"""The most time that passes between two looks of a driver that is awake."""


@dataclass(slots=True)
class _Attempt:
    """One attempt under way: when it began and was last heard of, on the vigil's clock."""

    predicted: float
    began: float
    heard: float
    silence: float = 0.0
    signs: int = 0


class Vigil:
    """Watches over the trials that run. ``hang_seconds`` replaces all that is said above."""

    def __init__(
        self, hang_seconds: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._hang_seconds, self._clock = hang_seconds, clock
        self._last, self._now = clock(), 0.0
        self._paces: dict[float, tuple[float, float]] = {}
        self._share = 0.0
        self._running: dict[str, _Attempt] = {}

    def learn(self, run: Run) -> None:
        """Take in how long an ended run took; only whole runs tell of a pace."""
        if run.done and run.seconds > 0 and "resumed_tokens" not in run.metrics:
            flops, seconds = self._paces.get(run.size.flops_per_token, (0.0, 0.0))
            cost = run.size.flops(run.trial.new_tokens)
            took = run.seconds * run.metrics.get("stack", 1)  # a trial waits for all its stack
            self._paces[run.size.flops_per_token] = flops + cost, seconds + took

    def begins(self, key: str, flops_per_token: float, flops: float) -> None:
        """Begin to watch an attempt that is to compute ``flops``."""
        now = self._tick()
        self._running[key] = _Attempt(self._predict(flops_per_token, flops), now, now)

    def hears(self, key: str, *, resumed: bool = False) -> None:
        """Take in a sign of life; what came before one of ``resumed`` was only told again."""
        attempt, now = self._running[key], self._tick()
        if resumed:
            self._running[key] = _Attempt(attempt.predicted, now, now)
            return
        attempt.silence = max(attempt.silence, now - attempt.heard)
        attempt.heard, attempt.signs = now, attempt.signs + 1

    def ends(self, key: str, *, well: bool) -> None:
        """Watch an attempt no longer; one that ended ``well`` shows how silent they can be."""
        attempt, now = self._running.pop(key), self._tick()
        age = now - attempt.began
        if well and age > LEAST_SECONDS:
            silence = max(attempt.silence, now - attempt.heard)
            self._share = max(self._share, silence / age)

    def hanging(self) -> dict[str, str]:
        """Return the trials that hang, each with a note that says so."""
        now, found = self._tick(), {}
        for key, attempt in self._running.items():
            silent, patience = now - attempt.heard, self._patience(attempt)
            if silent > patience:
                found[key] = (
                    f"it hung: no sign of life for {format_duration(silent)}, and "
                    f"{format_duration(patience)} is long for a trial of its size. Where that is "
                    "its way, set executor.hang_minutes"
                )
        return found

    def _patience(self, attempt: _Attempt) -> float:
        if self._hang_seconds is not None:
            return self._hang_seconds
        usual = (self._share or 1.0) * attempt.predicted
        if math.isinf(usual):
            if not attempt.signs:
                return UNKNOWN_SECONDS
            usual = attempt.heard - attempt.began
        return max(LEAST_SECONDS, SLACK * max(attempt.silence, usual))

    def _predict(self, flops_per_token: float, flops: float) -> float:
        """Return the seconds a trial will take by the nearest size; inf if none has ended."""
        if not self._paces:
            return math.inf
        nearest = min(self._paces, key=lambda known: abs(math.log(known / flops_per_token)))
        done, seconds = self._paces[nearest]
        return flops * seconds / done

    def _tick(self) -> float:
        now = self._clock()
        self._now += min(max(0.0, now - self._last), AWAKE_SECONDS)
        self._last = now
        return self._now
