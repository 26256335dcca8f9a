"""Decides what the mapping ``data:`` of a search space may say; refuses the rest in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

from planner.errors import DataError

SOURCES = ("source", "files", "tokens")


@dataclass(frozen=True, slots=True)
class DataOptions:
    """The checked mapping; exactly one of ``source``, ``files`` and ``tokens`` is given."""

    source: str = ""
    """``python-source``, the embedded default."""
    files: tuple[str, ...] = ()
    """Paths or globs of text."""
    tokens: str = ""
    """A token file: .bin as nanoGPT writes it, or a 1-D .npy."""

    validation: tuple[str, ...] = ()
    """Held-out files or globs; for ``tokens`` one file. Empty: split off the training text."""
    tokenizer: str = "bytes"
    """``bytes`` (vocabulary 256, documents end with byte 0) or the path of a `tokenizers` JSON."""
    field: str = "text"
    """The JSON key or Parquet column that holds the text."""
    dtype: str = "uint16"
    """The type inside .bin files: uint8, uint16 or uint32."""
    vocab: int | None = None
    """Vocabulary of token files; None: the largest id + 1."""

    tokens_needed: int | None = None
    """Training tokens the sweep needs; None: all there are."""
    evaluation_tokens: int | None = None
    """Size of the frozen evaluation set; None: 262,144, or less where the text is short."""
    epochs: int = 1
    """How often a training token may be seen."""


_COUNTS = ("vocab", "tokens_needed", "evaluation_tokens", "epochs")
_LISTS = ("files", "validation")


def read_options(data: Mapping[str, Any]) -> DataOptions:
    """Check a mapping; DataError names the key and what would be right."""
    given = dict(data) or {"source": "python-source"}
    known = [option.name for option in fields(DataOptions)]
    for key in given:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"did you mean `{near[0]}`? " if near else ""
            raise DataError(f"data has no option `{key}`: {hint}it knows {', '.join(known)}")
    options = DataOptions(**{key: _checked(key, value) for key, value in given.items()})
    if sum(bool(getattr(options, source)) for source in SOURCES) != 1:
        raise DataError(
            "data needs exactly one of `source: python-source`, `files: [...]` and `tokens: path`; "
            f"it has {', '.join(given)}"
        )
    if options.source not in ("", "python-source"):
        raise DataError(
            f"there is no data source {options.source!r}: write `source: python-source`, or name "
            "your own text with `files:`"
        )
    if options.dtype not in ("uint8", "uint16", "uint32"):
        raise DataError(f"dtype {options.dtype!r} is unknown: write uint8, uint16 or uint32")
    return options


def _checked(key: str, value: Any) -> Any:  # noqa: ANN401 - it is a value out of a YAML file
    if key in _COUNTS:
        if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
            raise DataError(f"data.{key} must be a whole number, not {value!r}")
        if value < 1:
            raise DataError(f"data.{key} must be at least 1, not {value!r}")
        return int(value)
    if key in _LISTS:
        items = tuple(value) if isinstance(value, list | tuple) else (value,)
        if not items or not all(isinstance(item, str) for item in items):
            raise DataError(f"data.{key} must be a path or a list of paths, not {value!r}")
        return items
    if not isinstance(value, str):
        raise DataError(f"data.{key} must be text, not {value!r}")
    return value
