"""Which trial is which, read from plain data without hashing it under a recipe.

A trial appears in the log twice, where a round asks for it and where its run ends. The index keeps
one object for both, and the runs of every stage in the order it asked; a driver of 100,000 runs
fits into memory, and a stage's runs are found without computing a key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from operator import itemgetter
from typing import Any, TypeAlias

from planner.run import TRIAL_FIELDS, Run, Trial

_NESTED = ("shape", "schedule", "keep_at")
_Read: TypeAlias = Callable[[Mapping[str, Any]], object]


def mark_of(data: Mapping[str, Any]) -> int:
    """Return a number two trials share if they are the same but for the stage that asked.

    It holds within one process only.
    """
    plain, nested = _getters(tuple(data))
    return hash((plain(data), repr(nested(data))))


@cache
def _getters(names: tuple[str, ...]) -> tuple[_Read, _Read]:
    """Return what reads a trial's plain values, and what reads the others, in a fixed order."""
    plain = sorted(set(names) - {"stage", *_NESTED})
    return itemgetter(*plain), itemgetter(*_NESTED)


class TrialIndex:
    """The trials of a log by stage, each once."""

    def __init__(self) -> None:
        self._stages: dict[str, dict[int, Trial]] = {}
        self._keys: dict[int, str] = {}
        self._parts: dict[type, dict[Any, Any]] = {}

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that have asked, in the order they came."""
        return tuple(self._stages)

    def decode(self, data: dict[str, Any]) -> dict[str, Any] | Trial:
        """Turn a decoded trial into the one it is, leave other objects: an ``object_hook``.

        A round of 100,000 trials so never stands in memory as plain data.
        """
        if "keep_at" not in data:
            return data
        try:
            return self.see(data)
        except (KeyError, TypeError, AttributeError):
            return data

    def see(self, data: Mapping[str, Any] | Trial) -> Trial:
        """Return the trial that plain data describe: one object for all that say the same."""
        if isinstance(data, Trial):
            return data
        stage, mark = self._stages.setdefault(data["stage"], {}), mark_of(data)
        if mark not in stage:
            stage[mark] = self._read(data)
        return stage[mark]

    def recorded(self, stage: str, runs: Mapping[str, Run]) -> tuple[str, ...]:
        """Return the keys of a stage's recorded runs, in the order it asked."""
        if len(self._keys) != len(runs):
            self._keys = {mark_of(run.trial.to_json()): key for key, run in runs.items()}
        keys = (self._keys.get(mark) for mark in self._stages.get(stage, ()))
        return tuple(key for key in keys if key is not None)

    def shared(self, run: Run) -> Run:
        """Return a run whose size and words are one object with all that have the same."""
        return replace(
            run,
            size=self._one(run.size),
            device=self._one(run.device),
            note=self._one(run.note),
            tokens=run.trial.tokens if run.tokens == run.trial.tokens else run.tokens,
        )

    def _read(self, data: Mapping[str, Any]) -> Trial:
        """Read a trial; its numbers, words and shape are shared with all that have the same."""
        trial = Trial.from_json(data)
        return replace(trial, **{name: self._one(getattr(trial, name)) for name in TRIAL_FIELDS})

    def _one(self, value: Any) -> Any:  # noqa: ANN401 (plain data of any kind)
        """Return the first value that was equal to this one and of its kind."""
        kind = self._parts.setdefault(type(value), {})
        return kind.setdefault(repr(value) if isinstance(value, dict) else value, value)
