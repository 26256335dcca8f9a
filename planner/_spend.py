"""What every attempt at every trial has cost, whether or not its result counts.

    spent(attempt) = what its end says; without one (its process was killed)
                   = flops_per_token * (min(reached + interval, last) - begin)

with ``begin`` the tokens it resumed from, ``reached`` those it last told of, ``last`` the trial's
end, and ``interval`` = 10 % of the trial, how often it tells: never less than was computed. Its
device seconds are what its end says times the devices it held; without one

    seconds(attempt) = the seconds it last told of, stretched to the tokens it is charged for
                     = spent(attempt) / (slowest pace seen at its size), if it never told
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Held:
    """What an attempt holds while it runs: so many devices, shared ``among`` so many trials.

    The trials of a stack share the time: each is paid for an equal part of it.
    """

    devices: float = 1
    among: int = 1


ALONE = Held()

PROGRESS_MARKS = 10
"""A trial tells of its progress, and the ledger stores it, at every tenth of its new tokens."""


@dataclass(slots=True)
class _Attempt:
    """One attempt at a trial that has no end yet, from ``first`` to ``last`` tokens of its path."""

    first: int = 0
    last: int = 0
    flops_per_token: float = 0.0
    devices: float = 1.0
    reached: int = 0
    begin: int = 0
    told: float = 0.0

    @property
    def charged(self) -> float:
        interval = (self.last - self.first) / PROGRESS_MARKS
        return min(self.reached + interval, self.last) - self.begin

    @property
    def spent(self) -> float:
        return self.flops_per_token * self.charged

    @property
    def seconds(self) -> float | None:
        """Wall seconds it may have run; None when it has told of none."""
        if not self.told or self.reached <= self.begin:
            return None
        return self.told * max(1.0, self.charged / (self.reached - self.begin))

    def mark(self, tokens: int) -> int:
        """Return how many marks lie behind ``tokens``."""
        return PROGRESS_MARKS * (tokens - self.first) // max(self.last - self.first, 1)


class Spend:
    """The attempts of a study and their cost in FLOPs and device seconds.

    An attempt without an end counts as killed unless it is among those ``watched``: under way, seen
    by this very process, and paid for when it ends. Closed attempts are kept as bare figures, so
    that a study of 100,000 runs fits a driver.
    """

    def __init__(self) -> None:
        self._open: dict[str, dict[int, _Attempt]] = {}
        self._closed: dict[str, tuple[tuple[int, float, float], ...]] = {}
        self._watched: dict[str, int] = {}
        self._flops = self._seconds = 0.0
        self._untimed: list[tuple[float, float, float]] = []
        self._slowest: dict[float, float] = {}

    @property
    def total(self) -> float:
        """FLOPs of every attempt that is over."""
        return self._flops + sum(attempt.spent for attempt in self._over())

    @property
    def device_seconds(self) -> float:
        """Device seconds of every attempt that is over; the untold ones at the slowest pace."""
        over = [
            attempt.devices * seconds
            if (seconds := attempt.seconds) is not None
            else self._guess(attempt.spent, attempt.flops_per_token, attempt.devices)
            for attempt in self._over()
        ]
        return self._seconds + sum(over) + sum(self._guess(*one) for one in self._untimed)

    def see(self, event: Mapping[str, Any]) -> None:
        """Take in a ``started``, ``progress`` or ``lost`` event; what old logs lack is optional."""
        key, number, seconds = event["key"], event["attempt"], event.get("seconds")
        match event["event"]:
            case "started":
                tokens = (int(event["fork_at"]), int(event["tokens"]))
                cost = float(event["flops_per_token"]), float(event.get("devices", 1))
                self.start(key, number, tokens, *cost)
            case "progress":
                if event.get("resumed", False):
                    self.resume(key, number, int(event["tokens"]))
                self.reach(key, number, int(event["tokens"]), float(seconds or 0))
            case "lost":
                self.lose(key, number, seconds, event.get("tokens"))

    def of(self, key: str) -> float:
        """FLOPs of all attempts at one trial."""
        closed = sum(flops for _, flops, _ in self._closed.get(key, ()))
        return closed + sum(attempt.spent for attempt in self._open.get(key, {}).values())

    def newest(self, key: str) -> int:
        """Return the number of the newest attempt at a trial; 0 before the first."""
        closed = max((number for number, _, _ in self._closed.get(key, ())), default=0)
        return max(closed, max(self._open.get(key, ()), default=0))

    def start(
        self,
        key: str,
        number: int,
        tokens: tuple[int, int],
        flops_per_token: float,
        devices: float = 1.0,
    ) -> None:
        """Begin an attempt that will go from the first to the second of ``tokens``."""
        attempt = _Attempt(*tokens, flops_per_token, devices, reached=tokens[0], begin=tokens[0])
        self._open.setdefault(key, {})[number] = attempt

    def watch(self, key: str, number: int) -> None:
        """Leave an attempt out of the total until it ends; older ones at its trial are over."""
        self._watched[key] = number

    def passes_mark(self, key: str, number: int, tokens: int) -> bool:
        """Say whether an attempt has passed another mark since what it is known to have reached.

        Never for one that is closed: a zombie's progress tells nothing.
        """
        attempt = self._find(key, number)
        return attempt is not None and attempt.mark(tokens) > attempt.mark(attempt.reached)

    def reach(self, key: str, number: int, tokens: int, seconds: float = 0.0) -> None:
        """Count an attempt's tokens up to here, and its wall seconds where they are known."""
        if attempt := self._find(key, number):
            attempt.reached = max(attempt.reached, tokens)
            attempt.told = max(attempt.told, seconds)

    def resume(self, key: str, number: int, tokens: int) -> None:
        """Charge an attempt from ``tokens`` on only: it went on from a saved state."""
        if attempt := self._find(key, number):
            attempt.begin = attempt.reached = tokens

    def lose(
        self, key: str, number: int, seconds: float | None = None, tokens: int | None = None
    ) -> None:
        """Close an attempt without a result: at ``tokens``, or else at what it may have cost."""
        if attempt := self._find(key, number):
            known = attempt.seconds if seconds is None else seconds
            exact = attempt.flops_per_token * max(0, (tokens or 0) - attempt.begin)
            self.pay(key, number, attempt.spent if tokens is None else exact, known)

    def pay(self, key: str, number: int, flops: float, seconds: float | None = None) -> None:
        """Close an attempt at its own figures; one already closed never gets cheaper."""
        attempt = self._open.get(key, {}).pop(number, None)
        if attempt is not None and not self._open[key]:
            del self._open[key]
        devices = attempt.devices if attempt else 1.0
        if seconds is None:
            self._untimed.append((flops, attempt.flops_per_token if attempt else 0.0, devices))
        elif attempt is not None and seconds > 0 and flops > 0:
            slowest = self._slowest.get(attempt.flops_per_token, 0.0)
            self._slowest[attempt.flops_per_token] = max(slowest, seconds / flops)
        held = (seconds or 0.0) if devices == 1 else devices * (seconds or 0.0)
        self._close(key, (number, flops, held))
        if self._watched.get(key) == number:
            del self._watched[key]

    def _close(self, key: str, figures: tuple[int, float, float]) -> None:
        number, flops, seconds = figures
        closed = self._closed.get(key, ())
        before = next((one for one in closed if one[0] == number), None)
        if before is not None:
            figures = (number, max(flops, before[1]), max(seconds, before[2]))
            closed = tuple(one for one in closed if one is not before)
            self._flops, self._seconds = self._flops - before[1], self._seconds - before[2]
        self._closed[key] = (*closed, figures)
        self._flops, self._seconds = self._flops + figures[1], self._seconds + figures[2]

    def _find(self, key: str, number: int) -> _Attempt | None:
        """Return an attempt without an end, None for a closed one. KeyError for an unknown one."""
        attempt = self._open.get(key, {}).get(number)
        if attempt is None and all(known != number for known, _, _ in self._closed.get(key, ())):
            raise KeyError(f"attempt {number} at {key}")
        return attempt

    def _over(self) -> list[_Attempt]:
        """Return the attempts without an end that are not under way here."""
        return [
            attempt
            for key, attempts in self._open.items()
            for number, attempt in attempts.items()
            if self._watched.get(key) != number
        ]

    def _guess(self, flops: float, flops_per_token: float, devices: float) -> float:
        """Return device seconds of FLOPs nobody timed; 0 while no attempt at all was timed."""
        pace = self._slowest.get(flops_per_token) or max(self._slowest.values(), default=0.0)
        return devices * flops * pace
