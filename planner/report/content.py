"""The blocks a report is built from, before it is Markdown or HTML.

Both templates render the same blocks, so the two files cannot disagree on a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text, with a lead-in in bold if ``lead`` is set."""

    kind: ClassVar[str] = "paragraph"
    text: str
    lead: str = ""


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list of sentences; an item may open with a lead-in."""

    kind: ClassVar[str] = "bullets"
    items: tuple[Paragraph, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of ready-made text under a head of the same length."""

    kind: ClassVar[str] = "table"
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if any(len(row) != len(self.head) for row in self.rows):
            raise ValueError(f"a row does not fit the head {self.head}")


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure by file name (figures/<name>.svg), or the sentence that says why it is missing."""

    kind: ClassVar[str] = "picture"
    name: str
    title: str
    caption: str
    missing: str = ""


Block: TypeAlias = Paragraph | Bullets | Table | Picture


@dataclass(frozen=True, slots=True)
class Section:
    """A titled run of blocks."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """The whole report. ``tone`` colours the verdict: go | warnings | no-go."""

    title: str
    verdict: str
    tone: str
    headline: str
    sections: tuple[Section, ...]


def bullets(items: Sequence[str | tuple[str, str]]) -> Bullets:
    """Make a list from sentences, or from (lead-in, sentence) pairs."""
    pairs = ((item, "") if isinstance(item, str) else (item[1], item[0]) for item in items)
    return Bullets(tuple(Paragraph(text, lead) for text, lead in pairs))
