"""The words of a trial, and a command with its placeholders filled by them.

A template is split into words before it is filled, so that a value is always one argument whatever
it holds. For a shell, which the user has to ask for, the values never enter its program either:
they travel in the environment, and ``{lr}`` becomes ``"${planner_lr}"`` there.
"""

from __future__ import annotations

import re
import shlex
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from planner.errors import SpaceError
from planner.run import Trial

PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}")

FIELDS: tuple[str, ...] = ("lr", "tokens", "batch_tokens", "warmup_tokens", "steps", "seed")
FIELDS += ("weight_decay", "beta1", "beta2", "clip")
"""Placeholders that are fields of the trial."""

DERIVED = ("schedule", "decay_ratio", "decay_tokens", "warmup_steps", "decay_steps")
PLACES = ("checkpoint_dir", "out", "device", "port")
CONTEXT = ("context", "batch_seqs")
"""Words there are where ``context`` is given beside argv; a size may state its own context."""


class NoSequencesError(Exception):
    """A batch of the grid is no whole number of sequences."""


def trial_words(trial: Trial, context: int | None, used: Set[str]) -> dict[str, Any]:
    """Return every word of a trial but the places. Raises NoSequencesError for a ragged batch."""
    cooldown = round(trial.steps * trial.schedule.decay_ratio)
    words: dict[str, Any] = {name: getattr(trial, name) for name in FIELDS}
    words |= {
        "schedule": trial.schedule.name,
        "decay_ratio": trial.schedule.decay_ratio,
        "decay_tokens": cooldown * trial.batch_tokens,
        "decay_steps": cooldown,
        "warmup_steps": round(trial.warmup_tokens / trial.batch_tokens),
    }
    if context:
        if trial.batch_tokens % context and "batch_seqs" in used:
            raise NoSequencesError(
                f"a batch of {trial.batch_tokens:,} tokens is no whole number of sequences of "
                f"{context}: let batch_tokens begin at a multiple of it"
            )
        words |= {"context": context, "batch_seqs": trial.batch_tokens // context}
    return words | dict(trial.shape)


def known_words(shape: Mapping[str, Any], context: int | None) -> set[str]:
    """Return the names of all words for a size. Raises SpaceError where a size takes one away."""
    own = {*FIELDS, *DERIVED, *PLACES, *(CONTEXT if context else ())}
    if taken := sorted(own & set(shape)):
        raise SpaceError(
            f"proxy command: `sizes` has a key `{taken[0]}`, which names something of the trial; "
            "call it something else"
        )
    return own | set(shape)


def free_port() -> int:
    """Return a port of this machine that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def spell(value: object) -> str:
    """Spell a value as a command line expects it: a whole number without its point."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def fill(text: str, words: Mapping[str, Any], change: Callable[[str], str] = str) -> str:
    """Replace the placeholders of a text; ``change`` is made to every value."""
    return PLACEHOLDER.sub(lambda match: change(spell(words[match[1]])), text)


@dataclass(frozen=True)
class Template:
    """A command as the user wrote it: words, or with ``shell`` one line for /bin/sh."""

    argv: tuple[str, ...]
    shell: bool = False

    @classmethod
    def of(cls, argv: str | Sequence[str], *, shell: bool) -> Template:
        """Read a template. Raises SpaceError for what is no command."""
        if shell:
            if not isinstance(argv, str) or not argv.strip():
                raise SpaceError("proxy command: with `shell: true`, `argv` must be one string")
            _for_shell(argv)
            return cls((argv,), shell=True)
        return cls(words_of("argv", argv))

    @property
    def used(self) -> set[str]:
        """The placeholders it holds."""
        return placeholders(self.argv)

    def filled(
        self, words: Mapping[str, Any], more: Sequence[str]
    ) -> tuple[list[str], dict[str, str]]:
        """Return the arguments, ``more`` words behind them, and what the environment must hold."""
        if not self.shell:
            return [fill(part, words) for part in (*self.argv, *more)], {}
        line = " ".join([_for_shell(self.argv[0]), *(_for_shell(word, '"') for word in more)])
        used = self.used | placeholders(more)
        values = {f"planner_{word}": spell(words[word]) for word in used}
        return ["/bin/sh", "-c", line], values


def words_of(option: str, given: str | Sequence[str]) -> tuple[str, ...]:
    """Return a list of words, or a string split as a shell would. Raises SpaceError."""
    try:
        parts = shlex.split(given) if isinstance(given, str) else given
    except ValueError as error:
        raise SpaceError(f"proxy command: `{option}` cannot be split into words: {error}") from None
    whole = isinstance(parts, list | tuple) and bool(parts)
    if not whole or not all(isinstance(part, str | int | float) for part in parts):
        raise SpaceError(
            f"proxy command: `{option}` must be a command: a list of words, or a string"
        )
    return tuple(str(part) for part in parts)


def placeholders(texts: Sequence[str]) -> set[str]:
    """Return the names of the placeholders in some texts."""
    return {word for text in texts for word in PLACEHOLDER.findall(text)}


def _for_shell(line: str, around: str = "") -> str:
    """Let placeholders name variables; within double quotes bare, in single ones not at all."""
    if around:
        line = f'"{line}"'
    pieces = []
    for text, quote, word in _pieces(line):
        if word and quote == "'":
            raise SpaceError(
                f"proxy command: `{{{word}}}` stands in single quotes, where a shell fills in "
                "nothing; use double quotes, or none"
            )
        variable = f"${{planner_{word}}}" if word else ""
        pieces.append(text + (variable if quote else f'"{variable}"' if word else ""))
    return "".join(pieces)


def _pieces(line: str) -> Iterator[tuple[str, str, str]]:
    """Yield (text before a placeholder, the quote it stands in, its name), at last the rest."""
    quote, begin = "", 0
    for match in re.finditer(r"\\.|['\"]|\{([A-Za-z_]\w*)\}", line, re.DOTALL):
        if match[1]:
            yield line[begin : match.start()], quote, match[1]
            begin = match.end()
        elif match[0] == "\\'" and quote == "'":  # a backslash means nothing in there
            quote = ""
        elif match[0] in ("'", '"') and quote in ("", match[0]):
            quote = "" if quote else match[0]
    yield line[begin:], "", ""
