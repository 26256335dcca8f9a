"""Decides which windows of a sweep's shards are trained on, and what is held out of them.

Shards of tokens are used where they lie; shards of documents are tokenised first (``_tokenised``).
Held out are the shards named under `validation:`; else, of tokens, the tails of up to
``HELD_SHARDS`` shards, and of documents one in a hundred (one in ten of less than ``LARGE``).
Of shards on this machine every one gives its share of the tokens needed, windows from its front;
remote ones are taken whole, in the order of the hash of their names, until there are enough.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from planner.errors import DataError
from planner.proxies._dedup import Deduplicator
from planner.proxies._mds import INDEX, mds_shards
from planner.proxies._options import DataOptions
from planner.proxies._order import Ints
from planner.proxies._places import Place, find
from planner.proxies._shard_documents import KINDS, read_documents
from planner.proxies._shards import FLAT, TokenShard, open_shards
from planner.proxies._sources import SHARE
from planner.proxies._stream import Selection
from planner.proxies._tokenised import (
    IdEncoder,
    Rules,
    held_by_hash,
    in_turn,
    token_shard,
    tokenise_all,
)
from planner.proxies._tokens import Encoder, Tokens, check_ids, make_encoder, smallest_dtype

HELD_SHARDS = 64
SMALL_SHARE, LARGE = 0.01, 10**9
WHOLE, WHOLE_REMOTE = 2**31, 2**26
"""Bytes of all shards up to which the fingerprints cover every byte, here and at a URL."""


@dataclass(frozen=True, slots=True)
class ShardSource:
    """The shards to train on and those to judge on (perhaps none)."""

    train: tuple[Place, ...]
    validation: tuple[Place, ...]

    @property
    def identity(self) -> Any:  # noqa: ANN401 - plain data
        """Plain data that changes when the shards may have changed."""
        places = (*self.train, None, *self.validation)
        return [place and (place.url, place.size, place.stamp) for place in places]


@dataclass(frozen=True, slots=True)
class Drawn:
    """What shards give: windows to train on, tokens to cut the evaluation set from."""

    train: Selection
    held_out: Tokens
    vocab: int
    bytes_per_token: float | None
    notes: tuple[str, ...]


def shard_source(options: DataOptions) -> ShardSource:
    """Find the shards; DataError where a pattern matches none, or one is of no known kind."""
    held = _found(options.validation) if options.validation else {}
    train = [place for url, place in _found(options.shards).items() if url not in held]
    if not train:
        raise DataError("every shard is also named under `validation:`; nothing is left")
    kinds = {_is_flat(place): place.url for place in (*train, *held.values())}
    if len(kinds) > 1:
        raise DataError(
            f"{kinds[True]} is a shard of tokens and {kinds[False]} one of documents: name shards "
            "of one kind"
        )
    return ShardSource(tuple(train), tuple(held.values()))


def shard_pools(source: ShardSource, options: DataOptions, context: int, folder: Path) -> Drawn:
    """Choose windows and held-out tokens; ``folder`` keeps what has to be tokenised."""
    if _is_flat(source.train[0]):
        return _flat_pools(source, options, context)
    return _document_pools(source, options, context, folder)


def _found(patterns: Sequence[str]) -> dict[str, Place]:
    """Return the shards by their addresses; an index stands for those it names."""
    found: dict[str, Place] = {}
    for place in find(patterns):
        if place.name.rpartition("/")[2] == INDEX:
            found |= {shard.url: shard for shard in mds_shards(place)}
        elif place.name.endswith((*FLAT, *KINDS)):
            found[place.url] = place
        else:
            raise DataError(
                f"{place.url}: shards are {' '.join((*FLAT, *KINDS))} files, or the index.json of "
                "MDS shards; plain text goes under `files:`"
            )
    return found


def _is_flat(place: Place) -> bool:
    return place.name.endswith(FLAT)


def _flat_pools(source: ShardSource, options: DataOptions, context: int) -> Drawn:
    shards = open_shards(source.train, options)
    shards.sort(key=lambda shard: _name_hash(shard.place))
    vocab, pool = options.vocab or 0, options.pool_tokens
    if source.validation:
        held = open_shards(source.validation, options)
        parts = [shard.read(0, min(shard.tokens, -(-pool // len(held)))) for shard in held]
        note = f"validation is the {len(held)} shard(s) named under `validation:`"
    else:
        cut = shards[:HELD_SHARDS]
        tails = [min(math.ceil(SHARE * s.tokens), -(-pool // len(cut))) for s in cut]
        rest = [replace(s, tokens=s.tokens - tail) for s, tail in zip(cut, tails, strict=True)]
        parts = [
            whole.read(left.tokens, whole.tokens) for whole, left in zip(cut, rest, strict=True)
        ]
        shards = rest + shards[HELD_SHARDS:]
        note = f"validation is cut from the tails of {len(cut)} of {len(shards)} shards"
    held_out = np.concatenate(parts)
    check_ids(held_out, vocab, "what is held out")
    notes = (note, "ready-made tokens are not searched for duplicates")
    selection = select(shards, options, context)
    return Drawn(selection, held_out.astype(smallest_dtype(vocab)), vocab, None, notes)


def _document_pools(source: ShardSource, options: DataOptions, context: int, folder: Path) -> Drawn:
    places = sorted(source.train, key=_name_hash)
    rules, seen = _rules(source, options), Deduplicator()
    held_out = _held_out(source, places, rules, seen)
    need = options.tokens_needed and -(-options.tokens_needed // context) * context
    slack = context * (1 + len(places))  # a shard's rest is shorter than a window
    done = tokenise_all(places, rules, seen, need and need + slack, folder)
    dtype = np.dtype(smallest_dtype(rules.encoder.vocab)).str
    tokens = sum(made.tokens for _, made in done)
    exact, near = (sum(getattr(made, kind) for _, made in done) for kind in ("exact", "near"))
    size = tokens * np.dtype(dtype).itemsize / 1e6
    notes = (
        "validation is the shards named under `validation:`"
        if source.validation
        else f"validation is 1 document in {round(1 / rules.share)}, by the hash of its content",
        f"{len(done)} of {len(places)} shards were made into {size:,.1f} MB of tokens; {exact:,} "
        f"exact and {near:,} near copies of validation documents were left out; training documents "
        "were not compared with each other",
    )
    selection = select([token_shard(made, dtype) for _, made in done], options, context)
    mean = sum(made.bytes for _, made in done) / max(1, tokens) if rules.text else None
    return Drawn(selection, held_out, rules.encoder.vocab, mean, notes)


def _rules(source: ShardSource, options: DataOptions) -> Rules:
    first = next(read_documents(source.train[0], options), b"")
    text = isinstance(first, bytes)
    encoder: Encoder
    if text and options.vocab is not None:
        raise DataError(
            "`vocab:` is for shards of tokens, and these hold text: its vocabulary is the "
            "tokenizer's; leave `vocab:` out, or name the column of tokens with `field:`"
        )
    if text:
        encoder = make_encoder(options.tokenizer)
    elif options.vocab is None:
        raise DataError(
            f"{source.train[0].url} holds tokens, which do not say how large their vocabulary is: "
            "state the tokenizer's `vocab:`"
        )
    else:
        encoder = IdEncoder(options.vocab, "a shard")
    size = sum(place.size for place in source.train)
    share = SMALL_SHARE if size >= LARGE else SHARE
    return Rules(options, encoder, text, 0.0 if source.validation else share)


def _held_out(
    source: ShardSource, places: Sequence[Place], rules: Rules, seen: Deduplicator
) -> Tokens:
    """Return the tokens to cut the evaluation set from; their documents are protected in seen."""
    parts: list[Tokens] = [np.zeros(0, dtype=smallest_dtype(rules.encoder.vocab))]
    count = 0
    texts = in_turn(source.validation or places, rules.options, text=rules.text)
    for text in texts:
        if count >= rules.options.pool_tokens:
            break
        chosen = source.validation or held_by_hash(text, rules.share)
        if text and chosen and seen.admit(text, protect=True):
            parts.append(rules.encoder.encode(text))
            count += len(parts[-1])
    return np.concatenate(parts)


def select(shards: Sequence[TokenShard], options: DataOptions, context: int) -> Selection:
    """Choose the training windows and fix in what order they may come."""
    counts = np.array([max(0, shard.tokens - 1) // context for shard in shards], dtype=np.int64)
    remote = any(shard.place.path is None for shard in shards)
    need = options.tokens_needed and -(-options.tokens_needed // context)
    if need is not None and need < counts.sum():
        ends = np.cumsum(counts)
        ends = np.minimum(ends, need) if remote else _shared_out(ends, need)
        counts = ends - np.concatenate([[0], ends[:-1]])
    used = [shard for shard, count in zip(shards, counts, strict=True) if count]
    size = sum(shard.place.size for shard in used)
    whole = size <= (WHOLE_REMOTE if remote else WHOLE)
    reach = None
    if remote and size > options.cache // 2:
        reach = max(1, options.cache // 4 // (context * used[0].width))
    printed = [shard if shard.print else shard.printed(whole=whole) for shard in used]
    return Selection(tuple(printed), tuple(counts[counts > 0].tolist()), context, reach)


def _shared_out(ends: Ints, need: int) -> Ints:
    """Scale cumulated counts so that they end at ``need``; exact for counts of any size."""
    return np.array([end * need // int(ends[-1]) for end in ends.tolist()], dtype=np.int64)


def _name_hash(place: Place) -> bytes:
    return hashlib.sha256(place.name.encode()).digest()
