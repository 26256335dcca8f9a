from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from planner.errors import DataError
from planner.proxies._data import prepare
from planner.proxies._python_source import ROOTS, package_files, runtime_closure
from planner.proxies._sources import held_out_units


def sentences(count: int, seed: int = 0, length: int = 300) -> list[str]:
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list("abcdefgh é\n"), length)) for _ in range(count)]


def write_records(path: Path, texts: list[str], field: str = "text") -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.table({field: texts}), path)
        return path
    lines = "".join(json.dumps({field: text}) + "\n" for text in texts).encode()
    pack = {".gz": gzip.compress, ".zst": zstandard.compress}.get(path.suffix, bytes)
    path.write_bytes(pack(lines))
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.parquet"])
def test_records_are_split_by_document_and_end_with_byte_0(name: str, tmp_path: Path) -> None:
    texts = sentences(1000)
    path = write_records(tmp_path / name, texts, "body")
    data = {"files": str(path), "field": "body"}
    corpus = prepare(data, context=32, cache=tmp_path / "cache")
    train = corpus.train.tobytes().split(b"\0")[:-1]
    expected = [text.encode() for text in texts]
    assert 850 < len(train) < 950
    assert train == [text for text in expected if text in set(train)]
    held_out = set(expected) - set(train)
    pieces = [piece for piece in corpus.validation.tobytes().split(b"\0")[1:-1] if piece]
    assert sum(piece in held_out for piece in pieces) > 0.8 * len(pieces)  # the rest: block edges
    assert not set(pieces) & set(train)
    assert corpus.bytes_per_token == pytest.approx(1, rel=0.01)


def test_many_files_are_split_by_file(tmp_path: Path) -> None:
    for i in range(30):
        (tmp_path / f"{i}.md").write_text(f"<{i}>".join(sentences(40, seed=i)))
    corpus = prepare({"files": str(tmp_path / "*.md")}, context=32, cache=tmp_path / "cache")
    present = {
        side: {i for i in range(30) if f"<{i}>".encode() in tokens.tobytes()}
        for side, tokens in (("train", corpus.train), ("validation", corpus.validation))
    }
    assert 3 <= len(present["validation"]) <= 4
    assert present["train"] == set(range(30)) - present["validation"]


def test_the_tail_of_a_single_text_is_held_out(tmp_path: Path) -> None:
    text = "".join(sentences(800)).encode()
    (tmp_path / "book.txt").write_bytes(text)
    corpus = prepare({"files": str(tmp_path / "book.txt")}, context=32, cache=tmp_path / "cache")
    cut = int(0.9 * len(text))
    pieces = corpus.train.tobytes().split(b"\0")[:-1]
    assert len(pieces) == 4  # pieces of 64 KiB, in an order of their own
    assert sorted(pieces, key=text.index) == [
        text[start : min(start + 2**16, cut)] for start in range(0, cut, 2**16)
    ]
    assert corpus.validation.tobytes()[:500] in text[cut:]


@pytest.mark.parametrize("suffix", [".txt", ".jsonl"])
def test_a_small_need_samples_every_large_file(suffix: str, tmp_path: Path) -> None:
    for mark in "ABC":
        texts = [mark + text for text in sentences(3000, seed=ord(mark))]
        if suffix == ".txt":
            (tmp_path / f"{mark}.txt").write_text("".join(texts))
        else:
            write_records(tmp_path / f"{mark}.jsonl", texts)
    data = {"files": str(tmp_path / f"*{suffix}"), "tokens_needed": 800_000}
    text = prepare(data, context=32, cache=tmp_path / "cache").train.tobytes()
    counts = [text.count(mark.encode()) for mark in "ABC"]
    assert min(counts) > 0.3 * max(counts)


def test_validation_files_are_taken_out_of_the_training_globs(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("".join(sentences(100)))
    (tmp_path / "held.txt").write_text("".join(sentences(100, seed=1)))
    data = {"files": [str(tmp_path / "*.txt")], "validation": [str(tmp_path / "held.txt")]}
    corpus = prepare(data, context=32, cache=tmp_path / "cache")
    assert corpus.train.tobytes()[:-1] == (tmp_path / "train.txt").read_bytes()
    assert corpus.validation.tobytes()[:500] in (tmp_path / "held.txt").read_bytes()
    with pytest.raises(DataError, match="nothing is left"):
        prepare({**data, "files": data["validation"]}, context=32, cache=tmp_path / "cache")


def test_training_text_that_repeats_validation_is_dropped(tmp_path: Path) -> None:
    held, other = sentences(200, seed=1), sentences(200)
    write_records(tmp_path / "held.jsonl", held)
    write_records(
        tmp_path / "train.jsonl",
        [*other, *held[:100], *(t.replace(" ", "\n\n") for t in held[100:])],
    )
    data = {"files": str(tmp_path / "train.jsonl"), "validation": str(tmp_path / "held.jsonl")}
    corpus = prepare(data, context=32, cache=tmp_path / "cache")
    assert corpus.train.tobytes() == b"".join(text.encode() + b"\0" for text in other)
    assert any("dropped 200 exact" in note for note in corpus.notes)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"text": ', "line 2 is not JSON"),
        ("a.jsonl", b'{"body": "x"}\n', "line 1 has no text under 'text' .it has: body.*`field:`"),
        ("a.jsonl", b"[1]\n", "it has: list"),
        ("a.jsonl", b"\xff\xfe\n", "line 1 is not JSON"),
        ("a.jsonl.gz", b"plain", "cannot be read"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "x"}', mtime=0)[:-9], "cannot be read"),
        ("a.jsonl.zst", b"plain", "cannot be read"),
        ("a.jsonl.zst", zstandard.compress(b'{"text": "x"}\n' * 99)[:-4], "cannot be read"),
        ("a.parquet", b"plain", "cannot be read"),
        ("a.pdf", b"plain", "text is read from .txt"),
        ("a.bin", b"plain", "under `tokens:`"),
    ],
)
def test_a_file_that_cannot_be_read_gets_a_sentence(
    name: str, content: bytes, sentence: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=sentence):
        prepare({"files": str(tmp_path / name)}, context=32, cache=tmp_path / "cache")


def test_a_parquet_column_must_exist_and_hold_text(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"body": ["x"], "n": [1]}), path)
    with pytest.raises(DataError, match=r"no column 'text' \(it has: body, n\)"):
        prepare({"files": str(path)}, context=32, cache=tmp_path / "cache")
    with pytest.raises(DataError, match="column 'n' holds int64"):
        prepare({"files": str(path), "field": "n"}, context=32, cache=tmp_path / "cache")


@given(st.dictionaries(st.text(min_size=1), st.integers(1, 10**6), min_size=20))
def test_some_units_but_never_a_dominating_one_are_held_out(sizes: dict[str, int]) -> None:
    chosen = held_out_units(sizes)
    total = sum(sizes.values())
    assert chosen
    assert max(sizes[name] for name in chosen) <= max(0.02 * total, total / len(sizes))
    assert sum(sizes[name] for name in chosen) < 0.2 * total


def test_python_source_is_the_library_and_what_training_needs() -> None:
    found, missing = runtime_closure([*ROOTS, "no-such-package"])
    assert missing == ["no-such-package"]
    assert {"numpy", "torch", "ruamel-yaml", "markupsafe"} <= found.keys()
    assert (
        not {"scaling-planner", "ray", "pytest", "mypy", "hypothesis", "tokenizers"} & found.keys()
    )
    files = package_files(found)
    assert {"stdlib:json", "stdlib:argparse", "numpy"} <= files.keys()
    paths = [path for paths in files.values() for path in paths]
    assert len(set(paths)) == len(paths)
    library = [path for name in files if name.startswith("stdlib:") for path in files[name]]
    assert not any({"site-packages", "tests", "test"} & set(path.parts) for path in library)


def test_python_source_holds_out_whole_packages(tmp_path: Path) -> None:
    data = {"source": "python-source", "tokens_needed": 2_000_000}
    corpus = prepare(data, context=128, cache=tmp_path)
    assert (corpus.vocab, corpus.unique_tokens) == (256, 2_000_000)
    assert len(corpus.validation) == 2**18 + 1
    assert "packages are validation" in corpus.notes[0]
    text = corpus.validation.tobytes()
    passages = [text[i : i + 64] for i in range(0, len(text) - 64, 640)]
    train = corpus.train.tobytes()
    assert sum(passage in train for passage in passages) < 0.01 * len(passages)
