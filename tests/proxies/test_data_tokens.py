from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.errors import DataError
from planner.proxies._data import prepare
from planner.proxies._tokens import ByteEncoder, smallest_dtype


def ids(count: int, vocab: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, vocab, count)


@pytest.mark.parametrize(
    ("dtype", "vocab"), [("uint8", 200), ("uint16", 50_257), ("uint32", 128_256)]
)
def test_a_nanogpt_file_is_read_with_its_tail_held_out(
    dtype: str, vocab: int, tmp_path: Path
) -> None:
    tokens = ids(400_000, vocab).astype(dtype)
    tokens.tofile(tmp_path / "train.bin")
    data = {"tokens": str(tmp_path / "train.bin"), "dtype": dtype, "vocab": vocab}
    corpus = prepare(data, context=128, cache=tmp_path / "cache")
    assert corpus.vocab == vocab
    assert np.array_equal(corpus.train, tokens[:360_000])
    assert corpus.train.dtype == np.dtype(dtype)
    assert set(corpus.validation[:2048].tolist()) <= set(tokens[360_000:].tolist())
    assert corpus.bytes_per_token is None


def test_npy_tokens_with_their_own_validation(tmp_path: Path) -> None:
    np.save(tmp_path / "train.npy", ids(100_000, 300))
    np.save(tmp_path / "val.npy", ids(50_000, 300, seed=1).astype(np.int32))
    data = {
        "tokens": str(tmp_path / "train.npy"),
        "validation": str(tmp_path / "val.npy"),
        "evaluation_tokens": 20_480,
        "tokens_needed": 64_000,
    }
    corpus = prepare(data, context=64, cache=tmp_path / "cache")
    assert np.array_equal(corpus.train, ids(100_000, 300)[:64_001])
    assert corpus.train.dtype == np.uint16
    assert len(corpus.validation) == 20_481
    assert corpus.vocab == 300
    assert any("largest id" in note for note in corpus.notes)


def test_wrong_token_files_get_a_sentence(tmp_path: Path) -> None:
    def refuse(sentence: str, **data: object) -> None:
        with pytest.raises(DataError, match=sentence):
            prepare({**data, "tokens": path}, context=64, cache=tmp_path / "cache")

    path = str(tmp_path / "train.bin")
    refuse("no file matches")
    (tmp_path / "train.bin").write_bytes(bytes(1001))
    refuse("no whole number of uint16 tokens")
    ids(100_000, 60_000).astype(np.uint32).tofile(path)
    refuse("write `dtype: uint32`")
    ids(100_000, 60_000).astype(np.uint16).tofile(path)
    refuse("outside the vocabulary of 50257", vocab=50_257)
    path = str(tmp_path / "*.n*")
    np.save(tmp_path / "a.npy", np.zeros((3, 3), dtype=np.uint16))
    refuse(r"shape \(3, 3\)")
    np.save(tmp_path / "a.npy", np.zeros(3))
    refuse("float64")
    np.save(tmp_path / "a.npy", np.full(100_000, -1))
    refuse("token id -1", vocab=10)
    np.save(tmp_path / "a.npy", np.array([{}]), allow_pickle=True)
    refuse("not an array file that numpy can read")
    (tmp_path / "b.npy").touch()
    refuse("matches 2 token files")
    path = str(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_text("text")
    refuse("text goes under `files:`")


@given(st.binary())
def test_bytes_are_their_own_tokens(text: bytes) -> None:
    tokens = ByteEncoder().encode(text)
    assert tokens[-1] == 0
    assert tokens[:-1].tobytes() == text.replace(b"\0", b"")


@given(st.integers(1, 2**32))
def test_the_smallest_type_holds_the_vocabulary(vocab: int) -> None:
    assert np.iinfo(smallest_dtype(vocab)).max >= vocab - 1


def write_tokenizer(path: Path, special: list[str]) -> Path:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(["the cat sat on the mat " * 50], 300, special_tokens=special)
    tokenizer.save(str(path))
    return path


@pytest.mark.parametrize("special", [["<|endoftext|>"], []])
def test_a_tokenizer_file_gives_the_tokens(special: list[str], tmp_path: Path) -> None:
    path = write_tokenizer(tmp_path / "tokenizer.json", special)
    text = " ".join(f"the cat {i} sat on the mat {i * i}" for i in range(20_000))
    (tmp_path / "a.txt").write_text(text)
    data = {"files": str(tmp_path / "a.txt"), "tokenizer": str(path)}
    corpus = prepare(data, context=64, cache=tmp_path / "cache")
    decoder = pytest.importorskip("tokenizers").Tokenizer.from_file(str(path))
    end = 0 if special else decoder.get_vocab_size()
    assert corpus.train[-1] == end
    assert corpus.vocab == decoder.get_vocab_size() + (not special)
    assert decoder.decode(corpus.train[:1000].tolist()) in text
    assert corpus.bytes_per_token is not None
    assert 1.5 < corpus.bytes_per_token < 4


def test_a_tokenizer_that_cannot_be_used_gets_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("text")
    data = {"files": str(tmp_path / "a.txt"), "tokenizer": str(tmp_path / "t.json")}
    with pytest.raises(DataError, match="does not exist; write `bytes`"):
        prepare(data, context=64, cache=tmp_path / "cache")
    (tmp_path / "t.json").write_text("{}")
    with pytest.raises(DataError, match="not a `tokenizers` JSON"):
        prepare(data, context=64, cache=tmp_path / "cache")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(DataError, match=r"pip install 'scaling-planner\[tokenizers\]'"):
        prepare(data, context=64, cache=tmp_path / "cache")
