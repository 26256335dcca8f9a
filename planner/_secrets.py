"""Tokens and passwords, kept out of everything a study writes or prints.

Hidden are the values of environment variables and of options whose names say they are secret, what
stands behind such a flag on a command line, passwords inside URLs, and words of the shape that the
well-known services give their tokens. Each becomes ``<hidden>``; a secret is no part of a recipe,
so a rotated token starts nothing anew. What a name does not betray cannot be known: keep secrets in
the environment, where trials find them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from itertools import pairwise
from typing import Any

HIDDEN = "<hidden>"

LEAST = 8
"""Characters below which a value is no secret: ``false``, ``1``, a user's name."""

_SURE = r"secret|passw(?:or)?d|passphrase|credentials?|api_?key|access_?key|private_?key|auth"
_NAME = re.compile(rf"(?:^|_)(?:{_SURE}|token|key|pat|dsn)(?:_|$)", re.IGNORECASE)
_OPTION = re.compile(rf"(?:^|[-_])(?:{_SURE.replace('_?', '[-_]?')}|token)(?:[-_]|$)", re.I)
_VOCABULARY = re.compile(r"(?:pad|eos|bos|unk|mask|sep|cls|stop|special)[-_]token", re.I)
"""Options of tokenizers whose names only sound secret."""

_URL = re.compile(r"(://[^/\s:@]*:)[^/\s@]+(?=@)")
_SHAPES = re.compile(
    r"hf_\w{20,}|sk-[\w-]{20,}|gh[pousr]_\w{30,}|github_pat_\w{20,}|glpat-[\w-]{20,}"
    r"|AKIA[0-9A-Z]{16}|xox[abprs]-[\w-]{10,}|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]+"
)
"""Tokens of Hugging Face, OpenAI and others, GitHub, GitLab, AWS and Slack, and JSON web tokens."""


def hide(text: str, also: Collection[str] = ()) -> str:
    """Return a text with every known secret, and those in ``also``, replaced."""
    known = {*also, *_of_the_environment()}
    for secret in sorted(known, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return _SHAPES.sub(HIDDEN, _URL.sub(rf"\1{HIDDEN}", text))


def hide_data(data: Any, also: frozenset[str] = frozenset()) -> Any:  # noqa: ANN401 (plain data)
    """Return plain data with its secrets replaced: texts, options by name, words behind flags."""
    return _replaced(data, secrets_of(data) | also)


def secrets_of(data: Any) -> frozenset[str]:  # noqa: ANN401 (plain data of any depth)
    """Return the values that the names of options and flags in plain data call secret."""
    return frozenset(value for value in _named(data) if _may_be_secret(value))


def _replaced(data: Any, also: Collection[str]) -> Any:  # noqa: ANN401
    if isinstance(data, dict):
        return {name: _replaced(inner, also) for name, inner in data.items()}
    if isinstance(data, list | tuple):
        return [_replaced(inner, also) for inner in data]
    return hide(data, also) if isinstance(data, str) else data


def _named(data: Any) -> Iterator[str]:  # noqa: ANN401
    """Yield the texts that stand under a secret's name."""
    if isinstance(data, dict):
        for name, inner in data.items():
            if isinstance(inner, str) and _is_secret_option(str(name)):
                yield inner
            yield from _named(inner)
    elif isinstance(data, list | tuple):
        words = [str(word) for word in data]
        for word, following in pairwise([*words, ""]):
            name, equals, value = word.partition("=")
            if _is_secret_option(name):
                yield value if equals else following
        for inner in data:
            yield from _named(inner)
    elif isinstance(data, str) and " " in data:
        yield from _named(data.split())


def _is_secret_option(name: str) -> bool:
    return bool(_OPTION.search(name)) and not _VOCABULARY.search(name) and " " not in name


def _may_be_secret(value: str) -> bool:
    """Say whether a value could be a secret: long enough, no flag, no placeholder."""
    return len(value) >= LEAST and value[:1] not in "-{<$" and value != HIDDEN


def _of_the_environment() -> Iterator[str]:
    for name, value in os.environ.items():
        if _NAME.search(name):
            yield from (line for line in value.splitlines() if len(line) >= LEAST)
