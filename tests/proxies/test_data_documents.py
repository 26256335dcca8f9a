"""Shards of documents (tar, Parquet, Arrow, MDS, JSON lines): made into tokens once, or refused."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pytest
import zstandard

from planner.errors import DataError
from planner.proxies import _tokenised
from planner.proxies._data import Batches, Corpus, prepare
from planner.proxies._stream import Stream
from tests.proxies.shard_files import lists, npy, texts, write_mds, write_table, write_tar

SMALL = {"evaluation_tokens": 4_096}


def opened(tmp_path: Path, **data: object) -> Corpus:
    return prepare({**SMALL, **data}, context=32, cache=tmp_path / "cache")


def tokens_of(corpus: Corpus) -> np.ndarray:
    """Return the training tokens as they lie in the tokenised shards."""
    assert isinstance(corpus.train, Stream)
    return np.concatenate([s.read(0, s.tokens) for s in corpus.train.selection.shards])


def refuse(tmp_path: Path, sentence: str, **data: object) -> None:
    with pytest.raises(DataError, match=sentence):
        opened(tmp_path, **data)


def write_text(folder: Path, kind: str, documents: list[str]) -> Path:
    """Write documents as one shard of a kind; return what to name in the YAML."""
    folder.mkdir(parents=True, exist_ok=True)
    raw = [text.encode() for text in documents]
    if kind.startswith("mds"):
        return write_mds(folder, raw, "str", packed=kind.endswith("zstd"))
    path = folder / f"a.{kind}"
    if kind in ("tar", "tgz", "tar.gz"):
        return write_tar(path, [(f"{i}.txt", text) for i, text in enumerate(raw)])
    if kind == "json.tar":
        lines = [json.dumps({"text": text}).encode() for text in documents]
        return write_tar(path, [(f"{i}.json", line) for i, line in enumerate(lines)])
    if kind.startswith("jsonl"):
        lines = "".join(json.dumps({"text": text}) + "\n" for text in documents).encode()
        pack = {"gz": gzip.compress, "zst": zstandard.compress}.get(kind.split(".")[-1], bytes)
        path.write_bytes(pack(lines))
        return path
    return write_table(path, documents)


TEXT_KINDS = [
    *("tar", "tgz", "tar.gz", "json.tar", "parquet", "arrow", "feather", "ipc"),
    *("mds", "mds.zstd", "jsonl", "jsonl.gz", "jsonl.zst"),
]


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_every_kind_of_text_shard_gives_the_same_tokens(kind: str, tmp_path: Path) -> None:
    documents = texts(600)
    corpus = opened(tmp_path, shards=str(write_text(tmp_path / "d", kind, documents)))
    found = tokens_of(corpus).tobytes().split(b"\0")[:-1]
    expected = [text.encode() for text in documents]
    assert found == [text for text in expected if text in set(found)]
    assert 510 < len(found) < 570  # one in ten is held out
    held = set(expected) - set(found)
    pieces = [piece for piece in corpus.validation.tobytes().split(b"\0")[1:-1] if piece]
    assert sum(piece in held for piece in pieces) > 0.6 * len(pieces)
    assert not set(pieces) & set(found)
    assert corpus.bytes_per_token == pytest.approx(1, rel=0.01)
    assert corpus.vocab == 256


def write_ids(folder: Path, kind: str, documents: list[np.ndarray]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if kind.startswith("mds"):
        return write_mds(folder, documents, kind.removeprefix("mds "), field="tokens")
    path = folder / f"a.{kind}"
    if kind == "tar":
        return write_tar(path, [(f"{i}.npy", npy(ids)) for i, ids in enumerate(documents)])
    if kind == "jsonl":
        path.write_text("".join(json.dumps({"tokens": d.tolist()}) + "\n" for d in documents))
        return path
    column = [document.tolist() for document in documents]
    if kind == "arrow":
        column = pa.array(column, type=pa.list_(pa.int32(), 200))
    return write_table(path, column, field="tokens")


@pytest.mark.parametrize(
    "kind", ["tar", "parquet", "arrow", "ipc", "jsonl", "mds bytes", "mds ndarray:uint16"]
)
def test_every_kind_of_token_shard_gives_the_same_tokens(kind: str, tmp_path: Path) -> None:
    documents = lists(600)
    path = write_ids(tmp_path / "d", kind, documents)
    corpus = opened(tmp_path, shards=str(path), field="tokens", vocab=300)
    found = tokens_of(corpus).reshape(-1, 200)
    assert found.dtype == np.uint16
    everything = {document.tobytes() for document in documents}
    assert {row.tobytes() for row in found} < everything
    assert 510 < len(found) < 570
    assert corpus.vocab == 300
    assert corpus.bytes_per_token is None


def test_an_array_that_tells_its_own_type_is_read(tmp_path: Path) -> None:
    path = write_mds(tmp_path / "d", lists(300), "ndarray", field="tokens")
    corpus = opened(tmp_path, shards=str(path), field="tokens", vocab=300)
    assert len(tokens_of(corpus)) % 200 == 0


def test_a_glob_may_name_an_index_and_its_shards(tmp_path: Path) -> None:
    write_text(tmp_path / "d", "mds", texts(300))
    one, both = (opened(tmp_path, shards=str(tmp_path / "d" / name)) for name in ("*.json", "*"))
    assert one.train_hash == both.train_hash


def test_shards_are_made_once_and_gone_on_with_after_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(6):
        write_text(tmp_path / f"d{i}", "jsonl", texts(200, seed=i))
    pattern = str(tmp_path / "d*" / "a.jsonl")
    whole = prepare({**SMALL, "shards": pattern}, context=32, cache=tmp_path / "other")
    write, made = _tokenised._write, []

    def broken(part: Path, *rest: object) -> object:
        made.append(part)
        if len(made) == 4:
            part.write_bytes(b"half")
            raise KeyboardInterrupt
        return write(part, *rest)

    monkeypatch.setattr(_tokenised, "_write", broken)
    with pytest.raises(KeyboardInterrupt):
        opened(tmp_path, shards=pattern)
    corpus = opened(tmp_path, shards=pattern)
    assert len(made) == 4 + 3  # three were whole
    assert corpus.train_hash == whole.train_hash
    assert corpus.validation_hash == whole.validation_hash
    assert np.array_equal(
        Batches(corpus.train, 32, 0).at(0, 99), Batches(whole.train, 32, 0).at(0, 99)
    )
    opened(tmp_path, shards=pattern)
    assert len(made) == 7
    with pytest.raises(DataError, match="is gone: delete the "):
        remove_and_open(tmp_path, pattern)


def remove_and_open(tmp_path: Path, pattern: str) -> None:
    next((tmp_path / "cache" / "tokenised").glob("*.bin")).unlink()
    opened(tmp_path, shards=pattern, epochs=2)


PREPARE = """
import sys
from planner.proxies._data import prepare
data = {"shards": sys.argv[1], "evaluation_tokens": 4096}
print(prepare(data, context=32).train_hash)
"""


def test_killed_and_crowded_preparations_end_at_the_same_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(8):
        write_text(tmp_path / f"d{i}", "jsonl", texts(400, seed=i))
    pattern = str(tmp_path / "d*" / "a.jsonl")
    monkeypatch.setenv("PLANNER_CACHE", str(tmp_path / "cache"))
    command = [sys.executable, "-c", PREPARE, pattern]
    with subprocess.Popen(command) as process:
        while not list((tmp_path / "cache").glob("tokenised/*.json")):
            assert process.poll() is None
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert len(list((tmp_path / "cache").iterdir())) == 1
    crowd = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    answers = {process.communicate()[0].decode().strip() for process in crowd}
    whole = prepare({**SMALL, "shards": pattern}, context=32, cache=tmp_path / "other")
    assert answers == {whole.train_hash}
    assert len(list((tmp_path / "cache").glob("tokenised/*.bin"))) == 8


def test_a_small_need_samples_shards_and_stops(tmp_path: Path) -> None:
    for i in range(20):
        write_text(tmp_path / f"d{i}", "jsonl", [f"<{i}>{t}" for t in texts(100, seed=i)])
    pattern = str(tmp_path / "d*" / "a.jsonl")
    corpus = opened(tmp_path, shards=pattern, tokens_needed=64_000)
    assert corpus.unique_tokens == 64_000
    text = tokens_of(corpus).tobytes()
    present = [i for i in range(20) if f"<{i}>".encode() in text]
    assert 14 <= len(present) <= 16
    assert len(text) < 100_000
    uneven = tmp_path / "u"
    for i in range(3):
        write_text(uneven / f"{i}", "jsonl", texts([20, 20, 800][i], seed=i))
    corpus = opened(tmp_path, shards=str(uneven / "*" / "a.jsonl"), tokens_needed=150_000)
    assert corpus.unique_tokens == 150_016


def test_copies_of_validation_are_left_out(tmp_path: Path) -> None:
    held, other = texts(200, seed=1), texts(200)
    near = [text.replace(" ", "\n\n") for text in held[100:]]
    named = write_text(tmp_path / "v", "parquet", held)
    path = write_text(tmp_path / "d", "arrow", [*other, *held[:100], *near])
    data = {"validation": str(named), "evaluation_tokens": 8_192}
    corpus = opened(tmp_path, shards=str(path), **data)
    assert tokens_of(corpus).tobytes() == b"".join(text.encode() + b"\0" for text in other)
    assert any("200 exact and 0 near copies" in note for note in corpus.notes)
    ids = lists(400)
    path = write_ids(tmp_path / "t", "parquet", [*ids, *ids[300:]])
    named = write_ids(tmp_path / "w", "parquet", ids[300:])
    data = {"field": "tokens", "vocab": 300, "validation": str(named)}
    corpus = opened(tmp_path, shards=str(path), **data)
    assert np.array_equal(tokens_of(corpus), np.concatenate(ids[:300]))


def test_remote_documents_are_read_through_a_line_that_breaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("planner.proxies._places.PAUSE_SECONDS", 0.0)
    store = fsspec.filesystem("memory")
    store.store.clear()
    expected = []
    for kind in ("parquet", "tar", "jsonl.zst"):
        path = write_text(tmp_path / "d", kind, texts(300))
        store.pipe_file(f"/docs/a.{kind}", path.read_bytes())
        expected.append(tokens_of(opened(tmp_path, shards=str(path))))
    read, calls = type(store).cat_file, [0]

    def flaky(*args: object, **options: object) -> object:
        calls[0] += 1
        if calls[0] % 3 == 0:
            raise ConnectionResetError("the line broke")
        return read(*args, **options)

    monkeypatch.setattr(type(store), "cat_file", flaky)
    for kind, tokens in zip(("parquet", "tar", "jsonl.zst"), expected, strict=True):
        corpus = opened(tmp_path, shards=f"memory://docs/a.{kind}")
        assert np.array_equal(tokens_of(corpus), tokens)
    assert calls[0] > 9
    store.store.clear()
