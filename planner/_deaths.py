"""How often a trial has died under its workers without coming further.

    deaths = attempts on end that died and came no further than one before them

A trial that kills its worker dies at the same place every time; one whose machines are taken away
comes further each time, if it resumes, and may be tried for as long as it does. A driver that was
killed takes its trials along and counts for none of them, unless the trial ran inside it.
"""

from __future__ import annotations

from dataclasses import dataclass

INSIDE_DRIVER = "inline"
"""The executor whose trials run in the driver's own process."""


@dataclass(slots=True)
class _Trial:
    """A trial that has not ended: its newest attempt, and what became of those before."""

    attempt: int = 0
    reached: int = 0
    may_kill_driver: bool = False
    furthest: int = -1
    deaths: int = 0
    note: str = ""

    def dies(self, note: str) -> None:
        self.deaths = 1 if self.reached > self.furthest else self.deaths + 1
        self.furthest = max(self.furthest, self.reached)
        self.may_kill_driver, self.note = False, note


class Deaths:
    """The deaths of a study's trials that have not ended yet."""

    def __init__(self) -> None:
        self._trials: dict[str, _Trial] = {}

    def start(self, key: str, attempt: int, tokens: int, host: str) -> None:
        """Begin an attempt at ``tokens``, on the executor named ``host``."""
        self.of(key)
        trial = self._trials.setdefault(key, _Trial())
        trial.attempt, trial.reached = attempt, tokens
        trial.may_kill_driver = host == INSIDE_DRIVER

    def reach(self, key: str, attempt: int, tokens: int) -> None:
        """Let an attempt have come as far as ``tokens``."""
        trial = self._trials.get(key)
        if trial is not None and trial.attempt == attempt:
            trial.reached = max(trial.reached, tokens)

    def lose(self, key: str, attempt: int, note: str, *, counts: bool) -> None:
        """End an attempt without a result; ``counts`` if the trial may be the cause."""
        trial = self._trials.get(key)
        if trial is None or trial.attempt != attempt:
            return
        trial.may_kill_driver = False
        if counts:
            trial.dies(note)

    def end(self, key: str) -> None:
        """Forget a trial that has ended."""
        self._trials.pop(key, None)

    def of(self, key: str) -> tuple[int, str]:
        """Return a trial's deaths and the note of the last one; ask between two attempts."""
        trial = self._trials.get(key, _Trial())
        if trial.may_kill_driver:
            trial.dies("the driver died, in whose own process it ran (executor inline)")
        return trial.deaths, trial.note
