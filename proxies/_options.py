"""Decides what the mapping ``data:`` of a search space may say; refuses the rest in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

from planner.errors import DataError, UsageError
from planner.units import parse_count

EVALUATION_TOKENS = 2**18
POOL = 8
"""Held-out tokens read for each token of the evaluation set."""

SOURCES = ("source", "files", "tokens", "shards")


@dataclass(frozen=True, slots=True)
class DataOptions:
    """The checked mapping; exactly one of ``SOURCES`` is given."""

    source: str = ""
    """``python-source``, the embedded default."""
    files: tuple[str, ...] = ()
    """Paths or globs of text."""
    tokens: str = ""
    """A token file: .bin as nanoGPT writes it, or a 1-D .npy."""
    shards: tuple[str, ...] = ()
    """Paths, globs or fsspec URLs of many files of tokens or of documents, of any total size."""

    validation: tuple[str, ...] = ()
    """Held-out files or globs; for ``tokens`` one file. Empty: split off the training text."""
    tokenizer: str = "bytes"
    """``bytes`` (vocabulary 256, documents end with byte 0) or the path of a `tokenizers` JSON."""
    field: str = "text"
    """The JSON key or Parquet column that holds the text."""
    dtype: str = "uint16"
    """The type inside .bin files (a Megatron index tells it) and MDS columns of bytes."""
    vocab: int | None = None
    """Vocabulary of token files; None: the largest id + 1. Shards of tokens must state it."""
    cache: int = 20 * 10**9
    """Bytes of disk that fetched shards may take, all trials of a machine together."""

    tokens_needed: int | None = None
    """Training tokens the sweep needs; None: all there are."""
    evaluation_tokens: int | None = None
    """Size of the frozen evaluation set; None: 262,144, or less where the text is short."""
    epochs: int = 1
    """How often a training token may be seen."""

    @property
    def pool_tokens(self) -> int:
        """Held-out tokens to read, from which the evaluation set is chosen."""
        return POOL * (self.evaluation_tokens or EVALUATION_TOKENS)


_COUNTS = ("vocab", "tokens_needed", "evaluation_tokens", "epochs")
_LISTS = ("files", "shards", "validation")
_DTYPES = ("uint8", "uint16", "uint32", "int32", "int64")


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
            "data needs exactly one of `source: python-source`, `files: [...]`, `tokens: path` and "
            f"`shards: [...]`; it has {', '.join(given)}"
        )
    if options.source not in ("", "python-source"):
        raise DataError(
            f"there is no data source {options.source!r}: write `source: python-source`, or name "
            "your own text with `files:`"
        )
    if options.dtype not in _DTYPES:
        raise DataError(f"dtype {options.dtype!r} is unknown: write one of {', '.join(_DTYPES)}")
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
    if key == "cache":
        return _bytes(value)
    if not isinstance(value, str):
        raise DataError(f"data.{key} must be text, not {value!r}")
    return value


def _bytes(value: Any) -> int:  # noqa: ANN401 - it is a value out of a YAML file
    """Read 20GB, 500 MB or a number of bytes."""
    text = str(value).strip()
    try:
        return int(parse_count(text[:-1] if text[-1:] in ("B", "b") and len(text) > 2 else text))
    except UsageError:
        raise DataError(f"data.cache must be a size such as 20GB, not {value!r}") from None
