"""What every attempt at every trial has cost, whether or not its result counts.

    spent(attempt) = what its end says; without one (its process was killed)
                   = flops_per_token * (min(reached + interval, last) - first)

with ``reached`` the tokens it last told of, ``last`` the trial's end, and ``interval`` = 10 % of
the trial, how often it tells: never less than was really computed.
"""

from __future__ import annotations

from dataclasses import dataclass

PROGRESS_MARKS = 10
"""A trial tells of its progress, and the ledger stores it, at every tenth of its new tokens."""


@dataclass(slots=True)
class _Attempt:
    """One attempt at a trial, from ``first`` to ``last`` tokens of its path."""

    first: int = 0
    last: int = 0
    flops_per_token: float = 0.0
    reached: int = 0
    paid: float | None = None

    @property
    def spent(self) -> float:
        if self.paid is not None:
            return self.paid
        interval = (self.last - self.first) / PROGRESS_MARKS
        return self.flops_per_token * (min(self.reached + interval, self.last) - self.first)

    def mark(self, tokens: int) -> int:
        """Return how many marks lie behind ``tokens``."""
        return PROGRESS_MARKS * (tokens - self.first) // max(self.last - self.first, 1)


class Spend:
    """The attempts of a study and their cost in FLOPs.

    An attempt without an end counts as killed unless it is among those ``watched``: under way, seen
    by this very process, and paid for when it ends.
    """

    def __init__(self) -> None:
        self._attempts: dict[str, dict[int, _Attempt]] = {}
        self._watched: set[tuple[str, int]] = set()

    @property
    def total(self) -> float:
        """FLOPs of every attempt that is over."""
        watched = sum(self._attempts[key][number].spent for key, number in self._watched)
        return sum(self.of(key) for key in self._attempts) - watched

    def of(self, key: str) -> float:
        """FLOPs of all attempts at one trial."""
        return sum(attempt.spent for attempt in self._attempts[key].values())

    def newest(self, key: str) -> int:
        """Return the number of the newest attempt at a trial; 0 before the first."""
        return max(self._attempts.get(key, {}), default=0)

    def start(self, key: str, number: int, tokens: tuple[int, int], flops_per_token: float) -> None:
        """Begin an attempt that will go from the first to the second of ``tokens``."""
        attempt = _Attempt(*tokens, flops_per_token, reached=tokens[0])
        self._attempts.setdefault(key, {})[number] = attempt

    def watch(self, key: str, number: int) -> None:
        """Leave an attempt out of the total until it ends; older ones at its trial are over."""
        self._watched = {known for known in self._watched if known[0] != key} | {(key, number)}

    def passes_mark(self, key: str, number: int, tokens: int) -> bool:
        """Say whether an attempt has passed another mark since what it is known to have reached."""
        attempt = self._attempts[key][number]
        return attempt.mark(tokens) > attempt.mark(attempt.reached)

    def reach(self, key: str, number: int, tokens: int) -> None:
        """Count an attempt's tokens up to here."""
        attempt = self._attempts[key][number]
        attempt.reached = max(attempt.reached, tokens)

    def lose(self, key: str, number: int) -> None:
        """Close an attempt whose process is gone at what it may have cost."""
        self.pay(key, number, self._attempts[key][number].spent)

    def pay(self, key: str, number: int, flops: float) -> None:
        """Close an attempt at its own figure; one already closed never gets cheaper."""
        attempt = self._attempts.setdefault(key, {}).setdefault(number, _Attempt())
        attempt.paid = max(flops, attempt.paid or 0.0)
        self._watched.discard((key, number))
