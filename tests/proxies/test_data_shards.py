"""Shards of tokens (.bin, .npy, Megatron), here and at a URL: chosen, read, or refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from planner.errors import DataError
from planner.proxies._data import Batches, prepare
from planner.proxies._stream import Stream
from tests.proxies.shard_files import ids, write_bins, write_megatron
from tests.proxies.stream_tools import all_windows, opened, refuse, refuse_late, uploaded


def test_windows_of_all_shards_come_once_and_the_tails_are_held_out(tmp_path: Path) -> None:
    corpus = opened(tmp_path, shards=write_bins(tmp_path / "d"))
    assert isinstance(corpus.train, Stream)
    drawn = {row.tobytes() for row in all_windows(corpus)}
    assert len(drawn) * 32 == corpus.unique_tokens
    tails = []
    for i in range(5):
        tokens = ids(40_000 + 100 * i, seed=i).astype(np.int64)
        mine = {
            tokens[w * 32 : w * 32 + 33].tobytes()
            for w in range((len(tokens) - 1) // 32)
            if tokens[w * 32 : w * 32 + 33].tobytes() in drawn
        }
        assert mine == {tokens[w * 32 : w * 32 + 33].tobytes() for w in range(len(mine))}
        assert 0.85 < len(mine) * 32 / len(tokens) < 0.92
        tails.append(tokens[len(mine) * 32 :].astype(np.uint16).tobytes())
        drawn -= mine
    assert not drawn
    assert corpus.validation[:32].tobytes() in b"".join(tails)
    assert corpus.train_hash.startswith("whole-")
    assert not list((tmp_path / "cache").rglob("train.npy"))


@pytest.mark.parametrize("kind", ["bin", "npy", "megatron", "url", "file", "int32"])
def test_every_form_of_the_same_tokens_gives_the_same_batches(
    kind: str, tmp_path: Path, store
) -> None:
    pattern = write_bins(tmp_path / "d")
    expected = all_windows(opened(tmp_path, shards=pattern), seed=7)
    other = tmp_path / "other"
    other.mkdir()
    for i in range(5):
        tokens = ids(40_000 + 100 * i, seed=i)
        if kind == "npy":
            np.save(other / f"{i}.npy", tokens)
        elif kind == "int32":
            tokens.astype(np.int32).tofile(other / f"{i}.bin")
        elif kind == "megatron":
            cuts = np.split(tokens.astype(np.int32), range(1_000, len(tokens), 1_000))
            write_megatron(other / f"{i}", cuts, code=4)
    pattern = {
        "bin": pattern,
        "url": uploaded(store, pattern),
        "file": f"file://{pattern}",
        "npy": str(other / "*.npy"),
    }.get(kind, str(other / "*"))
    dtype = "int32" if kind == "int32" else "uint16"
    corpus = opened(tmp_path, shards=pattern, dtype=dtype)
    got = all_windows(corpus, seed=7)
    if kind == "npy":  # the order goes by the names of the shards
        got, expected = np.sort(got, axis=0), np.sort(expected, axis=0)
    assert np.array_equal(got, expected)


def test_a_small_need_samples_every_shard_and_epochs_count(tmp_path: Path) -> None:
    pattern = write_bins(tmp_path / "d")
    corpus = opened(tmp_path, shards=pattern, tokens_needed=32_000)
    assert corpus.unique_tokens == 32_000
    assert isinstance(corpus.train, Stream)
    assert all(abs(count - 200) <= 2 for count in corpus.train.counts.tolist())
    refuse(tmp_path, r"and 1,000,000 are needed.*`epochs: 6`", shards=pattern, tokens_needed=1e6)
    again = opened(tmp_path, shards=pattern, tokens_needed=1e6, epochs=6)
    assert again.unique_tokens < 1_000_000 <= 6 * again.unique_tokens
    batches = Batches(again.train, 32, 0, again.epochs)
    first, second = np.split(batches.at(0, 2 * len(again.train)), 2)
    assert not np.array_equal(first, second)
    assert np.array_equal(np.sort(first, axis=0), np.sort(second, axis=0))
    with pytest.raises(DataError, match="`epochs: 7`"):
        batches.at(len(batches), 1)


def test_named_validation_is_taken_out_and_changed_data_are_other_data(tmp_path: Path) -> None:
    pattern = write_bins(tmp_path / "d")
    held = str(tmp_path / "d" / "4.bin")
    corpus = opened(tmp_path, shards=pattern, validation=held)
    assert isinstance(corpus.train, Stream)
    assert {shard.place.name for shard in corpus.train.selection.shards} == {
        f"{i}.bin" for i in range(4)
    }
    assert corpus.validation[:32].tobytes() in Path(held).read_bytes()
    refuse(tmp_path, "nothing is left", shards=held, validation=held)
    tokens = ids(40_000, seed=0)
    tokens[12_345] ^= 1
    tokens.tofile(tmp_path / "d" / "0.bin")
    assert opened(tmp_path, shards=pattern, validation=held).train_hash != corpus.train_hash


def test_few_files_are_open_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pattern = write_bins(tmp_path / "d")
    expected = all_windows(opened(tmp_path, shards=pattern))
    assert open_shards(tmp_path) == 0
    monkeypatch.setattr("planner.proxies._stream.OPEN_SHARDS", 2)
    corpus = opened(tmp_path, shards=pattern)
    assert np.array_equal(all_windows(corpus), expected)
    assert open_shards(tmp_path) == 2
    del corpus
    assert open_shards(tmp_path) == 0


def open_shards(folder: Path) -> int:
    links = Path("/proc/self/fd")
    if not links.is_dir():
        pytest.skip("this system does not list a process's open files")
    targets = [os.readlink(link) for link in links.iterdir() if link.is_symlink()]
    return sum(target.startswith(str(folder)) and target.endswith(".bin") for target in targets)


def test_reading_ahead_changes_nothing(tmp_path: Path) -> None:
    corpus = opened(tmp_path, shards=write_bins(tmp_path / "d"))
    batches = Batches(corpus.train, 32, 3)
    whole = Batches(corpus.train, 32, 3).at(0, len(batches))
    steps = [(start, 8) for start in (*range(0, 200, 8), 900, 4, 12, 12, len(batches) - 8)]
    for start, count in [*steps, (0, 1), (60, 200), (260, 200), (63, 1), (64, 64)]:
        assert np.array_equal(batches.at(start, count), whole[start : start + count])
    assert batches.waited > 0
    with pytest.raises(DataError, match="allow more repeats"):
        batches.at(len(batches), 1)


def test_an_id_out_of_vocabulary_is_found_where_it_stands(tmp_path: Path) -> None:
    pattern = write_bins(tmp_path / "d", count=1, tokens=200_000)
    tokens = ids(200_000)
    tokens[100_000] = 900
    tokens.tofile(tmp_path / "d" / "0.bin")
    refuse_late(opened(tmp_path, shards=pattern), r"0.bin holds token id 900 in its window 3,1")


def test_wrong_shards_get_a_sentence(tmp_path: Path, store) -> None:
    pattern = write_bins(tmp_path / "d", count=2)
    folder = tmp_path / "d"
    refuse(tmp_path, "no file matches", shards=str(folder / "*.parquet"))
    refuse(tmp_path, "no shard matches 'memory://", shards="memory://nowhere/*.bin")
    refuse(tmp_path, "nosuch", shards="nosuch://bucket/*.bin")
    with pytest.raises(DataError, match="state the tokenizer's `vocab:`"):
        prepare({"shards": pattern}, context=32, cache=tmp_path / "cache")
    refuse(tmp_path, r"uint16, room for 65,536 ids.*100,000", shards=pattern, vocab=100_000)
    refuse(tmp_path, "outside the vocabulary of 100", shards=pattern, vocab=100)
    refuse(tmp_path, "no whole number of uint32", shards=write_bins(folder, 1, 11), dtype="uint32")
    ids(40_000, dtype=np.uint32).tofile(folder / "0.bin")
    refuse(tmp_path, "write `dtype: uint32`", shards=pattern)
    np.save(folder / "a.npy", ids(50_000).astype(np.int32))
    refuse(tmp_path, "tokens of different types, uint16 .*<i4", shards=str(folder / "[1a].*"))
    np.save(folder / "a.npy", np.array([{}] * 9), allow_pickle=True)
    refuse(tmp_path, "holds object of shape", shards=str(folder / "a.npy"))
    (folder / "a.npy").write_bytes(b"\x93NUMPY")
    refuse(tmp_path, "not an array file", shards=str(folder / "a.npy"))
    np.save(folder / "a.npy", ids(50_000))
    (folder / "a.npy").write_bytes((folder / "a.npy").read_bytes()[:-100])
    refuse(tmp_path, "cut short", shards=str(folder / "a.npy"))
    (folder / "a.txt").write_text("text")
    refuse(tmp_path, "plain text goes under `files:`", shards=str(folder / "a.txt"))
    (folder / "a.jsonl").write_text('{"text": "a"}')
    refuse(tmp_path, "name shards of one kind", shards=[pattern, str(folder / "a.jsonl")])
    refuse(tmp_path, "a size such as 20GB", shards=pattern, cache="much")


def test_a_megatron_index_must_fit_its_data(tmp_path: Path) -> None:
    sequences = np.split(ids(50_000), range(500, 50_000, 500))
    path = write_megatron(tmp_path / "a", sequences)
    shards = str(tmp_path / "a.*")
    assert opened(tmp_path, shards=shards).unique_tokens == 44_992
    index, data = (path.with_suffix(end).read_bytes() for end in (".idx", ".bin"))

    def changed(content: bytes, sentence: str, end: str = ".idx") -> None:
        path.with_suffix(end).write_bytes(content)
        refuse(tmp_path, sentence, shards=shards)
        path.with_suffix(".idx").write_bytes(index)
        path.with_suffix(".bin").write_bytes(data)

    changed(index[:-600], "cut short")
    changed(b"TNTIDX\x00\x00" + index[8:], "old kind")
    changed(b"x" + index[1:], "no Megatron index")
    changed(index[:17] + b"\x06" + index[18:], "type code 6")
    changed(index[:34] + b"\x01" + index[35:], "do not lie one after the other")
    changed(index[:-8] + bytes(8), "its documents end at sequence 0")
    changed(data[:-2], "has 99,998 bytes and its index speaks of 100,000", ".bin")
    path.with_suffix(".bin").unlink()
    refuse(tmp_path, r"without its data: put a\.bin beside it", shards=shards)
