"""Decides how shards of documents become token shards of this machine, once for all trials.

Every shard becomes a .bin in the cache, named by the hash of all that decides its content, written
beside its place and renamed: what an interruption leaves is a number of whole shards, and the next
start goes on from there. One document in ``1 / share`` (by the hash of its content) is held out,
as are those that repeat the evaluation documents, by the rule of ``_dedup``. Training documents are
not compared with each other: that would need memory that grows with the data.

Where less is needed than there is, up to ``cap`` tokens are taken from the front of each shard, in
the order of the hash of the names, so that about ``TOGETHER`` shards are sampled.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from planner.errors import DataError
from planner.proxies._dedup import Deduplicator
from planner.proxies._documents import Document
from planner.proxies._fetch import check_room, locked
from planner.proxies._options import DataOptions
from planner.proxies._places import Place
from planner.proxies._shard_documents import read_documents
from planner.proxies._shards import TokenShard
from planner.proxies._tokens import Encoder, Tokens, check_ids, smallest_dtype

FORMAT = 1
"""Raised when a change of this code changes what a tokenised shard would hold."""

TOGETHER = 16
"""Shards sampled when not all tokens are needed."""

SLACK = 1.1
"""Tokens are taken from each shard as if so many times as many were needed: shards differ."""


class IdEncoder:
    """Ready-made ids that travel as bytes of uint32, so that documents of both kinds are alike."""

    def __init__(self, vocab: int, url: str) -> None:
        self.vocab, self._url = vocab, url

    def encode(self, text: bytes) -> Tokens:
        """Return the ids, in the smallest type. Raises DataError for one out of vocabulary."""
        ids = np.frombuffer(text, dtype="<u4")
        check_ids(ids, self.vocab, self._url)
        return ids.astype(smallest_dtype(self.vocab))


@dataclass(frozen=True, slots=True)
class Tokenised:
    """A shard's tokens on this machine, and what became of its documents."""

    file: str
    tokens: int
    bytes: int
    """Bytes of the documents behind the tokens."""
    digest: str
    exact: int
    near: int
    """Documents left out because they repeat validation exactly, or nearly."""
    cut: bool
    """Whether the shard held more than was taken."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What decides which tokens a document becomes."""

    options: DataOptions
    encoder: Encoder
    text: bool
    """Whether the documents are text, not ids."""
    share: float
    """Of the documents, held out by hash."""


def documents(place: Place, options: DataOptions, *, text: bool) -> Iterator[bytes]:
    """Yield a shard's documents as bytes; DataError where some are text and some are tokens."""
    for document in read_documents(place, options):
        if isinstance(document, bytes) != text:
            kinds = ("text", "tokens") if text else ("tokens", "text")
            raise DataError(
                f"the shards begin with {kinds[0]} and {place.url} holds {kinds[1]}: train on one "
                "kind, or name the right column with `field:`"
            )
        yield _raw(document, place.url)


def _raw(document: Document, url: str) -> bytes:
    if isinstance(document, bytes):
        return document
    if len(document) and (int(document.min()) < 0 or int(document.max()) >= 2**32):
        raise DataError(f"{url} holds a token id outside [0, 2^32)")
    return document.astype("<u4").tobytes()


def in_turn(places: Sequence[Place], options: DataOptions, *, text: bool) -> Iterator[bytes]:
    """Yield the documents of shards in turn, from up to ``TOGETHER`` at a time."""
    for first in range(0, len(places), TOGETHER):
        group = places[first : first + TOGETHER]
        for row in zip_longest(*(documents(place, options, text=text) for place in group)):
            yield from (document for document in row if document is not None)


def held_by_hash(raw: bytes, share: float) -> bool:
    """Say whether a document is held out."""
    return int.from_bytes(hashlib.sha256(raw).digest()[:8]) < share * 2**64


def tokenise_all(
    places: Sequence[Place], rules: Rules, seen: Deduplicator, need: int | None, folder: Path
) -> list[tuple[Place, Tokenised]]:
    """Return tokenised shards that hold ``need`` tokens, or all there are."""
    with locked(folder):
        cap = need and math.ceil(SLACK * need / min(TOGETHER, len(places)))
        while True:
            done: list[tuple[Place, Tokenised]] = []
            left = iter(places)
            while not _enough(done, need) and (place := next(left, None)):
                done.append((place, _tokenise(place, rules, seen, cap, folder)))
            if _enough(done, need) or cap is None or not any(made.cut for _, made in done):
                return done
            cap *= 2


def _enough(done: Sequence[tuple[Place, Tokenised]], need: int | None) -> bool:
    return need is not None and sum(made.tokens for _, made in done) >= need


def token_shard(made: Tokenised, dtype: str) -> TokenShard:
    """Return a tokenised shard as one to train on."""
    path = Path(made.file)
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(
            f"the tokenised shard {path} is gone: delete the .json beside it and start again"
        ) from error
    place = Place(str(path), path.name, status.st_size, str(status.st_mtime_ns))
    return TokenShard(place, dtype, 0, made.tokens, made.digest, whole=True)


def _tokenise(
    place: Place, rules: Rules, seen: Deduplicator, cap: int | None, folder: Path
) -> Tokenised:
    key = _key(place, rules, seen, cap)
    told, file = folder / f"{key}.json", folder / f"{key}.bin"
    if told.exists():
        return Tokenised(**json.loads(told.read_text(encoding="utf-8")))
    most = cap or place.size
    check_room(folder, min(most, 2**28) * np.dtype(smallest_dtype(rules.encoder.vocab)).itemsize)
    before = seen.exact, seen.near
    kept = (
        raw
        for raw in documents(place, rules.options, text=rules.text)
        if raw and not held_by_hash(raw, rules.share) and not seen.leaks(raw)
    )
    part = folder / ".part"
    try:
        tokens, size, digest, cut = _write(part, kept, rules.encoder, cap)
        part.replace(file)
        dropped = seen.exact - before[0], seen.near - before[1]
        made = Tokenised(str(file), tokens, size, digest, *dropped, cut)
        part.write_text(json.dumps(asdict(made)), encoding="utf-8")
        part.replace(told)
    except OSError as error:
        raise DataError(f"tokens cannot be kept in {folder}: {error}") from error
    return made


def _write(
    part: Path, texts: Iterable[bytes], encoder: Encoder, cap: int | None
) -> tuple[int, int, str, bool]:
    """Write the tokens of documents; return tokens, bytes of text, a hash, and if more came."""
    count = size = 0
    digest = hashlib.sha256()
    with part.open("wb") as file:
        for text in texts:
            if cap is not None and count >= cap:
                return count, size, digest.hexdigest()[:32], True
            written = encoder.encode(text)
            data = written.tobytes()
            digest.update(data)
            file.write(data)
            count, size = count + len(written), size + len(text)
    return count, size, digest.hexdigest()[:32], False


def _key(place: Place, rules: Rules, seen: Deduplicator, cap: int | None) -> str:
    tokenizer, options = Path(rules.options.tokenizer), rules.options
    state: list[Any] = [FORMAT, place.url, place.size, place.stamp, options.field, options.dtype]
    state += [rules.encoder.vocab, rules.text, rules.share, seen.protected, cap]
    if rules.text and tokenizer.is_file():
        state.append(hashlib.sha256(tokenizer.read_bytes()).hexdigest())
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()[:24]
