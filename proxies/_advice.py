"""What to write when a trainer ended well and its final loss was not understood."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from planner.proxies._lines import NUMBER
from planner.proxies._reports import NAMES, TRAINING

VALIDATION = r"(?:val|valid|validation|eval|evaluation|test|dev|held.?out|final)[ _/.-]*loss"

USUAL: dict[str, str] = {
    "final_loss": VALIDATION,
    "loss": "|".join(re.escape(name) for name in TRAINING),
    "step": "iter|iteration|it|global_step|steps|train_steps|update|num_updates",
    "tokens": "tokens_seen|num_tokens|total_tokens|n_tokens|consumed_tokens|train/tokens",
}
"""Ours: the names by which trainers usually call it."""

PLAIN = re.compile(rf"(?i)\b({VALIDATION}\W{{0,4}}){NUMBER}")
EXAMPLE = '{"final_loss": 3.2} on a line of its own'
MOST_NAMES, LINE = 12, 400
"""Names that are remembered, and characters of a line that are looked at."""


@dataclass
class Unheard:
    """The names and lines of a trainer that meant nothing so far."""

    names: dict[str, None] = field(default_factory=dict)
    plain: str = ""
    printed: bool = False

    def line(self, line: bytes) -> None:
        """Take in a line that is no report."""
        self.printed |= bool(line.strip())
        if b"oss" in line and (found := PLAIN.search(line[-LINE:].decode("utf-8", "replace"))):
            self.plain = found[1]

    def record(self, names: Iterable[str]) -> None:
        """Take in the names of a record."""
        self.printed = True
        fresh = (name for name in names if name not in NAMES)
        self.names |= dict.fromkeys(fresh) if len(self.names) < MOST_NAMES else {}

    @property
    def advice(self) -> str:
        """What the user should write, as far as the names and lines tell."""
        if meant := self._meant():
            told = ", ".join(f"{theirs}: {ours}" for theirs, ours in meant.items())
            return f"if its words mean what they seem to, write `map: {{{told}}}`"
        if self.plain:
            quote = "'" if '"' in self.plain else '"'
            line = f"{quote}{self.plain}{{final_loss}}{quote}"
            return f"if that is its line, write `lines: [{line}]`"
        if self.names:
            named = ", ".join(f"`{name}`" for name in list(self.names)[:MOST_NAMES])
            return f"it names {named}: say with `map` which is its validation loss at the end"
        if not self.printed:
            return f"it printed nothing: let it print {EXAMPLE}, or name its log with `reports`"
        return f"let it print {EXAMPLE}, or say how its lines read with `lines`"

    def _meant(self) -> dict[str, str]:
        """Return {their name: ours} where a validation loss is among the names."""
        meant: dict[str, str] = {}
        for name in self.names:
            for ours, usual in USUAL.items():
                if re.fullmatch(usual, name, re.IGNORECASE) and ours not in meant.values():
                    meant[name] = ours
        return meant if "final_loss" in meant.values() else {}
