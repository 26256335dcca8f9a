"""How often a trial has died under its workers without coming further.

    deaths = attempts on end that died and came no further than one before them

A trial that kills its worker dies at the same place every time; one whose machines are taken away
comes further each time, if it resumes, and may be tried for as long as it does. A driver that was
killed takes its trials along and counts for none of them, unless the trial ran inside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
    """The deaths of a study's trials that have not ended yet, from the events of its log."""

    def __init__(self) -> None:
        self._trials: dict[str, _Trial] = {}

    def see(self, event: Mapping[str, Any]) -> None:
        """Take in an event of the log; those of older attempts tell nothing."""
        kind = event["event"]
        if kind == "started":
            self._start(event)
        elif kind == "ended":
            self._end(event["run"])
        elif kind in ("progress", "lost") and (trial := self._newest(event)):
            if kind == "progress":
                trial.reached = max(trial.reached, int(event["tokens"]))
            elif event.get("counts", True):
                trial.dies(event["note"])
            else:
                trial.may_kill_driver = False

    def of(self, key: str) -> tuple[int, str]:
        """Return a trial's deaths and the note of the last one; ask between two attempts."""
        trial = self._trials.get(key, _Trial())
        if trial.may_kill_driver:
            trial.dies("the driver died, in whose own process it ran (executor inline)")
        return trial.deaths, trial.note

    def _start(self, event: Mapping[str, Any]) -> None:
        self.of(event["key"])
        trial = self._trials.setdefault(event["key"], _Trial())
        trial.attempt, trial.reached = event["attempt"], int(event["fork_at"])
        trial.may_kill_driver = event["host"] == INSIDE_DRIVER

    def _end(self, run: Mapping[str, Any]) -> None:
        if self._newest(run):
            del self._trials[run["key"]]

    def _newest(self, told: Mapping[str, Any]) -> _Trial | None:
        trial = self._trials.get(told["key"])
        return trial if trial is not None and trial.attempt == told["attempt"] else None
