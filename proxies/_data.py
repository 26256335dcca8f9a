"""Decides which tokens a proxy trains on, which it is judged on, and in which order they come.

Tokens are cut into windows of ``context + 1`` tokens at a stride of ``context``: neighbours share
one token, so each token is a target exactly once. The order of the windows is a permutation drawn
from the seed, anew in every epoch: the data position of a run is the number of windows it consumed.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from planner.errors import DataError
from planner.proxies._cache import cache_folder
from planner.proxies._fetch import ShardCache
from planner.proxies._fetch_ahead import FetchAhead
from planner.proxies._options import EVALUATION_TOKENS, DataOptions, read_options
from planner.proxies._order import Order
from planner.proxies._pools import (
    Pools,
    TokenSource,
    evaluation_set,
    text_pools,
    token_pools,
    token_source,
)
from planner.proxies._python_source import python_source
from planner.proxies._shard_pools import Drawn, ShardSource, shard_pools, shard_source
from planner.proxies._sources import TextSource, file_source, identify
from planner.proxies._stream import Draw, ReadAhead, Selection, Stream
from planner.proxies._tokens import Tokens, make_encoder

FORMAT = 1
"""Raised when a change of this code changes what a cached corpus would hold."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Training and evaluation tokens, ready to be cut into windows."""

    train: Tokens | Stream
    """Memory-mapped, 1-D; or windows of shards, read as they are asked for."""

    validation: Tokens
    """The frozen evaluation set, memory-mapped, 1-D; cut it with :func:`windows`."""

    vocab: int
    train_hash: str
    validation_hash: str

    unique_tokens: int
    """Distinct training tokens (targets) that whole windows of ``train`` offer."""

    bytes_per_token: float | None
    """Mean bytes of text behind a token; None for token files, which do not say."""

    epochs: int
    """How often ``train`` may be repeated; 1 = never twice."""

    notes: tuple[str, ...]
    """What a reader of the report should know: sampling, duplicates dropped, how it was split."""


def windows(tokens: Tokens, context: int) -> Tokens:
    """Return a view (windows, context + 1) of 1-D ``tokens``; a rest too short for one is left."""
    if len(tokens) <= context:
        raise DataError(
            f"{len(tokens)} tokens are too few for one window of context {context} and its target: "
            "give more text or a shorter context"
        )
    return np.lib.stride_tricks.sliding_window_view(np.asarray(tokens), context + 1)[::context]


class Batches:
    """Windows of training tokens in a seeded order; what it returns depends on its arguments only.

    ``epochs`` is how often each window may come; a new epoch has a new order. The batch of a stream
    that follows the last is read in the background, and so are the remote shards that follow, of
    the first ``until`` windows (None: all).
    """

    def __init__(
        self,
        tokens: Tokens | Stream,
        context: int,
        seed: int,
        epochs: int = 1,
        until: int | None = None,
    ) -> None:
        self._draw: Draw
        if isinstance(tokens, Stream):
            self._count = epochs * len(tokens)
            self._draw = ReadAhead(_reader(tokens, seed, until or self._count), self._count)
        else:
            self._draw, self._count = _drawer(windows(tokens, context), seed, epochs)
        self._epochs = epochs
        self.waited = 0.0
        """Seconds spent waiting for windows so far."""

    def __len__(self) -> int:
        """Return how many windows may be drawn in all."""
        return self._count

    def at(self, window_start: int, count: int) -> npt.NDArray[np.int64]:
        """Return (count, context + 1) tokens, the windows after the first ``window_start``.

        Raises DataError when that needs more epochs than allowed.
        """
        if window_start + count > self._count:
            raise DataError(
                f"training asks for {window_start + count:,} windows of text and there are "
                f"{self._count:,} in {self._epochs} allowed epoch(s): train on fewer tokens, "
                f"give more text, or allow more repeats with `epochs: {self._epochs + 1}`"
            )
        began = time.perf_counter()
        taken = self._draw(window_start, count)
        self.waited += time.perf_counter() - began
        return taken


def _reader(stream: Stream, seed: int, until: int) -> Draw:
    """Return what reads windows of a stream in order, and fetches remote shards ahead."""
    reach = stream.selection.reach
    order = Order(stream.counts, seed, reach)
    ahead = None if reach is None else FetchAhead(stream, order, until)

    def draw(start: int, count: int) -> npt.NDArray[np.int64]:
        taken = stream.read(*order.at(start, count))
        if ahead:
            ahead.reading(start)
        return taken

    return draw


def _drawer(cut: Tokens, seed: int, epochs: int) -> tuple[Draw, int]:
    """Return what draws windows of an array in order, and how many there are in all epochs."""
    order = np.concatenate(
        [np.random.default_rng((seed, epoch)).permutation(len(cut)) for epoch in range(epochs)]
    )
    return lambda start, count: cut[order[start : start + count]].astype(np.int64), len(order)


def prepare(data: Mapping[str, Any], *, context: int, cache: Path | None = None) -> Corpus:
    """Return the corpus a ``data:`` mapping describes, from the cache when nothing changed.

    ``context`` is the window length in tokens, ``cache`` the folder prepared corpora are kept in
    (PLANNER_CACHE, or the user's cache folder). Raises DataError for text that is missing,
    unreadable or too small.
    """
    options = read_options(data)
    source = _open(options)
    home = cache or cache_folder()
    folder = home / _key(options, source, context)
    if not folder.is_dir():
        if isinstance(source, ShardSource):
            drawn: Drawn | Pools = shard_pools(source, options, context, home / "tokenised")
        else:
            need = options.tokens_needed and -(-options.tokens_needed // context) * context + 1
            drawn = _build(options, source, need)
        _keep(folder, drawn, options, context)
    return _load(folder, ShardCache(home / "fetched", options.cache))


def _open(options: DataOptions) -> TextSource | TokenSource | ShardSource:
    if options.shards:
        return shard_source(options)
    if options.tokens:
        return token_source(options)
    if options.files:
        return file_source(options.files, options.validation, options.field)
    return python_source()


def _build(options: DataOptions, source: TextSource | TokenSource, need: int | None) -> Pools:
    if isinstance(source, TokenSource):
        return token_pools(source, options, need)
    return text_pools(source, make_encoder(options.tokenizer), options, need)


def _keep(folder: Path, pools: Pools | Drawn, options: DataOptions, context: int) -> None:
    """Write arrays and manifest beside their place, then rename: whole or not at all."""
    train = pools.train
    unique = _unique_tokens(train, options, context)
    validation = evaluation_set(pools.held_out, options, context)
    notes = list(pools.notes)
    if options.evaluation_tokens is None and len(validation) <= EVALUATION_TOKENS:
        notes.append(f"the text is short: the evaluation set has only {len(validation):,} tokens")
    manifest = {
        "vocab": pools.vocab,
        "train_hash": _content_hash(train),
        "validation_hash": _content_hash(validation),
        "unique_tokens": unique,
        "bytes_per_token": pools.bytes_per_token,
        "epochs": options.epochs,
        "notes": notes,
    }
    if isinstance(train, Selection):
        manifest["selection"] = train.to_json()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".draft-", dir=folder.parent) as place:
            draft = Path(place) / "corpus"
            draft.mkdir()
            if not isinstance(train, Selection):
                np.save(draft / "train.npy", train)
            np.save(draft / "validation.npy", validation)
            (draft / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
            draft.rename(folder)
    except OSError as error:
        if not folder.is_dir():  # otherwise another process was first, with the same content
            raise DataError(f"the prepared corpus cannot be kept in {folder}: {error}") from error


def _unique_tokens(train: Tokens | Selection, options: DataOptions, context: int) -> int:
    """Return the targets whole windows offer; DataError when the sweep needs more."""
    if isinstance(train, Selection):
        unique = sum(train.counts) * context
    else:
        unique = max(0, len(train) - 1) // context * context
    need = options.tokens_needed or context
    if unique * options.epochs >= need:
        return unique
    advice = "give more text, lower the horizons (`tokens_per_run`)"
    if unique:
        advice += f", or allow repeats with `epochs: {-(-need // unique)}`"
    raise DataError(
        f"the text holds {unique:,} training tokens once repeats and held-out text are taken out, "
        f"and {need:,} are needed (epochs allowed: {options.epochs}): {advice}"
    )


def _load(folder: Path, cache: ShardCache) -> Corpus:
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        train: Tokens | Stream
        if "selection" in manifest:
            selection = Selection.from_json(manifest.pop("selection"))
            train = Stream(selection, manifest["vocab"], cache)
        else:
            train = np.load(folder / "train.npy", mmap_mode="r", allow_pickle=False)
        validation = np.load(folder / "validation.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"the prepared corpus in {folder} is damaged ({error}): delete that folder and start "
            "again"
        ) from error
    manifest["notes"] = tuple(manifest["notes"])
    return Corpus(train=train, validation=validation, **manifest)


def _key(options: DataOptions, source: TextSource | TokenSource | ShardSource, context: int) -> str:
    """Hash what decides the content: the options, the state of the files, the window length."""
    tokenizer = Path(options.tokenizer)
    state = [source.identity, identify(tokenizer) if tokenizer.is_file() else None]
    told = asdict(options)
    if not options.shards:  # so that what was prepared before there were shards is still found
        del told["shards"], told["cache"]
    text = json.dumps([FORMAT, told, state, context], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _content_hash(tokens: Tokens | Selection) -> str:
    if isinstance(tokens, Selection):
        return tokens.content_hash
    head = f"{tokens.dtype.str} {len(tokens)} ".encode()
    return hashlib.sha256(head + np.ascontiguousarray(tokens).tobytes()).hexdigest()[:16]
