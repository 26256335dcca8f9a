"""Numbers out of a trainer's plain lines, by a description of each kind of line.

    lines: ["iter {step}: loss {loss},", "val loss {final_loss}"]

A name in braces stands for a number, white space for any other, the rest for itself; before and
behind it a line may hold anything. ``{_}`` is a number that does not matter. What a name means is
the business of ``map``, as with the names in JSON lines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from planner.errors import SpaceError

NUMBER = r"[-+]?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan|inf)"
"""A number as people print it: 12,800 and 5.1e-3, and nan."""

NAME = re.compile(r"\{([A-Za-z_]\w*)\}")
TRAINING = re.compile(r"(?i)train\w*[\s_/.]*loss\W*\{final_loss\}")


@dataclass(frozen=True)
class Lines:
    """Descriptions of lines, and what they were made into."""

    given: tuple[str, ...] = ()
    patterns: tuple[re.Pattern[str], ...] = ()

    @classmethod
    def of(cls, given: object) -> Lines:
        """Read the option ``lines``. Raises SpaceError with what it may say."""
        texts = (given,) if isinstance(given, str) else given
        if not isinstance(texts, list | tuple) or not all(isinstance(t, str) for t in texts):
            raise SpaceError(
                "proxy command: `lines` must be a list of texts such as "
                '"iter {step}: loss {loss}", with a name in braces for each number'
            )
        return cls(tuple(texts), tuple(_pattern(text) for text in texts))

    @property
    def names(self) -> set[str]:
        """The names in braces."""
        return {name for pattern in self.patterns for name in pattern.groupindex}

    def read(self, line: bytes) -> Mapping[str, object]:
        """Return the numbers of a line by the first description it fits; empty if it fits none."""
        if not self.patterns:
            return {}
        text = line.decode("utf-8", "replace")
        for pattern in self.patterns:
            if found := pattern.search(text):
                return {name: value.replace(",", "") for name, value in found.groupdict().items()}
        return {}


def _pattern(text: str) -> re.Pattern[str]:
    """Return the expression for a description. Raises SpaceError for one that says nothing."""
    names = [name for name in NAME.findall(text) if name != "_"]
    if not names or len(set(names)) < len(names):
        raise SpaceError(
            f"proxy command: {text!r} under `lines` needs a name in braces for each number it is "
            "about, each once, such as iter {step}: loss {loss}; {_} is a number to be passed over"
        )
    if TRAINING.search(text):
        raise SpaceError(
            f"proxy command: {text!r} under `lines` takes a training loss for the final loss: let "
            "the trainer evaluate on held-out data at its end and name that"
        )
    pieces = NAME.split(text)
    for at, piece in enumerate(pieces):
        group = f"(?P<{piece}>{NUMBER})" if piece != "_" else NUMBER
        literal = r"\s+".join(re.escape(part) for part in re.split(r"\s+", piece))
        pieces[at] = group if at % 2 else literal
    return re.compile("".join(pieces), re.IGNORECASE)
