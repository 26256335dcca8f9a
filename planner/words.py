"""What a recipe says of itself: what its tokens are called (``unit``), which optimizer trains.

Keys of YAML and columns of tables say tokens always; sentences for people say the unit. They are
written for tokens, and this is the one place that puts another word in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from types import MappingProxyType
from typing import Any, TypeVar, cast

TOKENS = "tokens"
NO_RECIPE: Mapping[str, Any] = MappingProxyType({})
PHRASES = (("(in sequences) ", ""), (" a image", " an image"))
"""What else has to change with the word."""
NAMES = ("name", "code", "method")
"""Fields of records that hold a name or a note of origin, no sentence."""

Told = TypeVar("Told")

_WORD = re.compile(r"(?<![\w.`{-])([Tt])oken(s?)(?![\w-])")
"""The word by itself: not batch_tokens, --unique-tokens nor the key in `tokens: path`."""


def unit_of(recipe: Mapping[str, Any]) -> str:
    """Return what a study counts, in the plural."""
    return str(recipe.get("unit", TOKENS))


def optimizer_of(recipe: Mapping[str, Any]) -> str:
    """Return the first word a recipe says of its ``optimizer``; nothing where it says none."""
    words = re.findall(r"\w+", str(recipe.get("optimizer", "")))
    return words[0] if words else ""


def in_unit(sentence: str, unit: str) -> str:
    """Return a sentence about tokens as one about ``unit``."""
    if unit == TOKENS:
        return sentence
    one = unit.removesuffix("s")

    def word(found: re.Match[str]) -> str:
        said = unit if found[2] else one
        return said.capitalize() if found[1] == "T" else said

    told = _WORD.sub(word, sentence)
    for before, after in PHRASES:
        told = told.replace(before, after)
    return told


def retold(record: Told, unit: str) -> Told:
    """Return a record (dataclass, tuple or string) with every sentence in it put in a unit.

    Names and mappings stay as they are: they are columns and keys.
    """
    return record if unit == TOKENS else cast(Told, _retold(record, unit))


def _retold(record: Any, unit: str) -> Any:  # noqa: ANN401 - whatever a record holds
    if type(record) is str:  # an enumeration's member is a name
        return in_unit(record, unit)
    if isinstance(record, tuple):
        return tuple(_retold(each, unit) for each in record)
    if is_dataclass(record) and not isinstance(record, type):
        spoken = (f.name for f in fields(record) if f.init and f.name not in NAMES)
        return replace(record, **{f: _retold(getattr(record, f), unit) for f in spoken})
    return record
