"""Which trial is which, read from plain data without hashing it under a recipe.

A trial appears in the log twice, where a round asks for it and where its run ends. The index keeps
one object for both, and the runs of every stage in the order it asked; a driver of 100,000 runs
fits into memory, and a stage's runs are found without computing a key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from planner.run import TRIAL_FIELDS, Trial


def mark_of(data: Mapping[str, Any]) -> int:
    """Return a number two trials share if they are the same but for the stage that asked.

    It holds within one process only.
    """
    return hash(tuple(_hashable(value) for name, value in sorted(data.items()) if name != "stage"))


def _hashable(value: object) -> object:
    return repr(value) if isinstance(value, dict | list) else value


class TrialIndex:
    """The trials of a log by stage, each once, and the keys of those recorded."""

    def __init__(self) -> None:
        self._stages: dict[str, dict[int, Trial]] = {}
        self._keys: dict[int, str] = {}
        self._parts: dict[type, dict[Any, Any]] = {}

    def asked(self, data: Mapping[str, Any]) -> Trial:
        """Take in a trial a round asks for."""
        stage = self._stages.setdefault(data["stage"], {})
        return stage.setdefault(mark_of(data), self._read(data))

    def same(self, data: Mapping[str, Any]) -> Trial:
        """Return the trial an ended run names, as the object the round holds if one asked."""
        known = self._stages.get(data["stage"], {}).get(mark_of(data))
        return known or self._read(data)

    def ended(self, data: Mapping[str, Any], key: str) -> None:
        """Take in the key of a recorded run."""
        self._keys[mark_of(data)] = key

    def recorded(self, stage: str) -> tuple[str, ...]:
        """Return the keys of a stage's recorded runs, in the order it asked."""
        keys = (self._keys.get(mark) for mark in self._stages.get(stage, ()))
        return tuple(key for key in keys if key is not None)

    def _read(self, data: Mapping[str, Any]) -> Trial:
        """Read a trial; its numbers, words and shape are shared with all that have the same."""
        trial = Trial.from_json(data)
        return replace(trial, **{name: self._one(getattr(trial, name)) for name in TRIAL_FIELDS})

    def _one(self, value: Any) -> Any:  # noqa: ANN401 (plain data of any kind)
        """Return the first value that was equal to this one and of its kind."""
        kind = self._parts.setdefault(type(value), {})
        return kind.setdefault(repr(value) if isinstance(value, dict) else value, value)
