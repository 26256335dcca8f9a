"""Decides how much text is read, and cuts the frozen evaluation set out of what is held out.

Held-out documents come first, then training documents in the source's order until there are enough
tokens; each has to be new (see ``_dedup``). The evaluation set is blocks of about ``BLOCK`` tokens
chosen by the hash of their content from a pool several times its size, so that it samples many
documents and does not move when training text is added.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from planner.errors import DataError
from planner.proxies._dedup import Deduplicator
from planner.proxies._options import EVALUATION_TOKENS, DataOptions
from planner.proxies._sources import SHARE, TextSource, expand, identify
from planner.proxies._tokens import Encoder, Tokens, check_ids, open_tokens, smallest_dtype

FEWEST_EVALUATION_TOKENS = 2**14
"""A short text may shrink the evaluation set to this when its size was not asked for."""

BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Pools:
    """Tokens to train on, tokens to cut the evaluation set from, and what is to be said of them."""

    train: Tokens
    held_out: Tokens
    vocab: int
    bytes_per_token: float | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TokenSource:
    """A token file, perhaps with a validation file."""

    train: Path
    validation: Path | None
    identity: Any


def token_source(options: DataOptions) -> TokenSource:
    """Find the files of ``tokens:``; DataError when one is missing or a glob matches several."""
    paths = [_single(pattern) for pattern in (options.tokens, *options.validation)]
    if len(paths) > 2:
        raise DataError("`validation:` of token files is one token file; join them into one")
    validation = paths[1] if len(paths) == 2 else None
    return TokenSource(paths[0], validation, [identify(path) for path in paths])


def token_pools(source: TokenSource, options: DataOptions, need: int | None) -> Pools:
    """Read ready-made tokens: the first ``need`` of the file, and its tail or the other file."""
    tokens = open_tokens(source.train, options.dtype)
    if source.validation is not None:
        held_out = open_tokens(source.validation, options.dtype)[: options.pool_tokens]
        note = f"validation is {source.validation.name}"
    else:
        tail = min(math.ceil(SHARE * len(tokens)), options.pool_tokens)
        tokens, held_out = tokens[:-tail], tokens[-tail:]
        note = f"validation is cut from the last {tail:,} tokens of {source.train.name}"
    tokens = tokens[:need]
    vocab = (
        options.vocab or max((int(t.max()) for t in (tokens, held_out) if len(t)), default=0) + 1
    )
    for ids, path in ((tokens, source.train), (held_out, source.validation or source.train)):
        if len(ids):
            check_ids(ids, vocab, path)
    dtype = smallest_dtype(vocab)
    notes = (note,) if options.vocab else (note, f"vocab {vocab} is the largest id seen + 1")
    return Pools(
        np.asarray(tokens, dtype=dtype), np.asarray(held_out, dtype=dtype), vocab, None, notes
    )


def text_pools(
    source: TextSource, encoder: Encoder, options: DataOptions, need: int | None
) -> Pools:
    """Read documents, drop repeats, encode what is needed."""
    seen, split = Deduplicator(), source.split()
    held_out, _ = _fill(
        split.validation,
        lambda text: seen.admit(text, protect=True),
        encoder,
        options.pool_tokens,
    )
    train, bytes_per_token = _fill(split.train, seen.admit, encoder, need)
    drops = (
        f"dropped {seen.exact:,} exact and {seen.near:,} near duplicates; "
        f"{seen.overlap:.2%} of the held-out text's 64-byte passages also occur in the training "
        "text"
    )
    return Pools(train, held_out, encoder.vocab, bytes_per_token, (*split.notes, drops))


def evaluation_set(pool: Tokens, options: DataOptions, context: int) -> Tokens:
    """Return whole windows (stride ``context``, one last target) of the frozen evaluation set."""
    wanted = max(context, options.evaluation_tokens or EVALUATION_TOKENS)
    least = options.evaluation_tokens or FEWEST_EVALUATION_TOKENS
    if len(pool) <= max(least, context):
        raise DataError(
            f"the held-out text has {len(pool):,} tokens and the evaluation set needs {least:,}: "
            "give more text, name held-out files under `validation:`, or set a smaller "
            "`evaluation_tokens:`"
        )
    block = context * max(1, BLOCK // context)
    blocks = [pool[start : start + block] for start in range(0, len(pool), block)]
    order = sorted(range(len(blocks)), key=lambda i: hashlib.sha256(blocks[i].tobytes()).digest())
    total = min(wanted, len(pool) - 1) // context * context + 1
    chosen = np.sort(order[: math.ceil(total / block) + 1])
    return np.concatenate([blocks[i] for i in chosen])[:total]


def _fill(
    texts: Iterable[bytes], admit: Callable[[bytes], bool], encoder: Encoder, need: int | None
) -> tuple[Tokens, float]:
    """Encode new documents until there are ``need`` tokens; also return the bytes a token."""
    parts: list[Tokens] = [np.zeros(0, dtype=smallest_dtype(encoder.vocab))]
    count = size = 0
    for text in texts:
        if need is not None and count >= need:
            break
        if text and admit(text):
            parts.append(encoder.encode(text))
            count += len(parts[-1])
            size += len(text)
    return np.concatenate(parts)[:need], size / max(1, count)


def _single(pattern: str) -> Path:
    paths = expand([pattern])
    if len(paths) > 1:
        raise DataError(
            f"{pattern!r} matches {len(paths)} token files; name one, or join them into one"
        )
    return paths[0]
