"""Why attempts of a study ended without a result: what a report says of the machines it ran on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

NO_WORD = "the driver was gone before they ended"
"""Of attempts whose end nobody recorded, and whose trial was begun again."""


class Losses:
    """Counts by the note of each loss, folded from the log's events."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._under_way: set[str] = set()

    def see(self, event: Mapping[str, Any]) -> None:
        """Take in one event of the log."""
        kind = event["event"]
        if kind == "started":
            self.counts[NO_WORD] += event["key"] in self._under_way
            self._under_way.add(event["key"])
        elif kind == "lost":
            self.counts[str(event["note"])] += 1
            self._under_way.discard(event["key"])
        elif kind == "ended":
            self._under_way.discard(event["run"]["key"])
