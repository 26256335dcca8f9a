"""How much a study trains of each shape, as far as it is decided: what is shared by such trials.

    alike(trial) = {batch: new tokens of all trials of its shape and this batch, decided so far}

It is read from the rounds of the ledger, the trial's own the last of them, and from nothing that
happens while they run: the same on every executor and on every resume.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from planner.run import Round

Alike: TypeAlias = tuple[tuple[int, int], ...]
"""Pairs (batch_tokens, new tokens of that batch), smallest batch first."""


class Decided:
    """The tokens of all rounds it has followed, by shape and batch."""

    def __init__(self) -> None:
        self._tokens: dict[str, dict[int, int]] = {}
        self._seen = 0

    def follow(self, rounds: Sequence[Round]) -> None:
        """Take in the rounds that were decided since it last looked."""
        for step in rounds[self._seen :]:
            for trial in step.trials:
                batches = self._tokens.setdefault(_name(trial.shape), {})
                batches[trial.batch_tokens] = batches.get(trial.batch_tokens, 0) + trial.new_tokens
        self._seen = len(rounds)

    def alike(self, shape: Mapping[str, Any]) -> Alike:
        """Return what is decided of a shape; () where nothing is."""
        return tuple(sorted(self._tokens.get(_name(shape), {}).items()))


def _name(shape: Mapping[str, Any]) -> str:
    return json.dumps(dict(shape), sort_keys=True, default=str)
