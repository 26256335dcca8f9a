from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.errors import DataError
from planner.proxies._data import Batches, prepare, windows


def write_prose(path: Path, words: int, seed: int = 0) -> Path:
    """Write text that repeats no passage of 64 bytes."""
    drawn = np.random.default_rng(seed).integers(0, 36**5, words)
    lines = [" ".join(np.base_repr(w, 36).lower() for w in row) for row in drawn.reshape(-1, 10)]
    path.write_text("\n".join(lines))
    return path


@given(
    count=st.integers(1, 40),
    rest=st.integers(0, 7),
    seed=st.integers(0, 2**32),
    epochs=st.integers(1, 3),
    cuts=st.lists(st.integers(0, 120), max_size=6),
)
def test_every_target_comes_once_an_epoch_however_training_is_interrupted(
    count: int, rest: int, seed: int, epochs: int, cuts: list[int]
) -> None:
    context = 8
    tokens = np.arange(count * context + 1 + rest, dtype=np.uint16)
    total = count * epochs
    whole = Batches(tokens, context, seed, epochs).at(0, total)
    for epoch in whole.reshape(epochs, -1, context + 1):
        assert sorted(epoch[:, 1:].ravel()) == list(range(1, count * context + 1))
    stops = sorted({0, total, *(min(cut, total) for cut in cuts)})
    resumed = [
        Batches(tokens, context, seed, epochs).at(start, stop - start)
        for start, stop in pairwise(stops)
    ]
    assert np.array_equal(np.concatenate(resumed), whole)


def test_seeds_and_epochs_have_orders_of_their_own() -> None:
    tokens = np.arange(801, dtype=np.uint16)
    first, second = Batches(tokens, 8, 0, 2).at(0, 200).reshape(2, 100, 9)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, Batches(tokens, 8, 1).at(0, 100))


def test_running_out_of_text_says_how_to_go_on() -> None:
    batches = Batches(np.arange(81, dtype=np.uint8), 8, 0)
    assert len(batches) == 10
    assert batches.at(6, 4).dtype == np.int64
    with pytest.raises(DataError, match=r"11 windows .* 10 in 1 allowed .* `epochs: 2`"):
        batches.at(6, 5)


def test_windows_need_one_token_more_than_the_context() -> None:
    assert windows(np.arange(9, dtype=np.uint8), 8).shape == (1, 9)
    with pytest.raises(DataError, match="too few"):
        windows(np.arange(8, dtype=np.uint8), 8)


def test_a_prepared_corpus_is_kept_and_found_again(tmp_path: Path) -> None:
    data = {"files": [str(write_prose(tmp_path / "a.txt", 60_000))], "tokens_needed": 100_000}
    first = prepare(data, context=64, cache=tmp_path / "cache")
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")}
    again = prepare(data, context=64, cache=tmp_path / "cache")
    assert kept == {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")}
    assert isinstance(again.train, np.memmap)
    assert (first.train_hash, first.validation_hash) == (again.train_hash, again.validation_hash)
    assert again.unique_tokens == 100_032  # whole windows of 64
    assert len(again.train) == again.unique_tokens + 1
    assert len(again.validation) % 64 == 1
    assert any("evaluation set has only" in note for note in again.notes)


def test_changed_text_and_changed_options_make_another_corpus(tmp_path: Path) -> None:
    path = write_prose(tmp_path / "a.txt", 60_000)
    hashes = {prepare({"files": [str(path)]}, context=64, cache=tmp_path / "cache").train_hash}
    write_prose(path, 60_000, seed=1)
    hashes.add(prepare({"files": [str(path)]}, context=64, cache=tmp_path / "cache").train_hash)
    data = {"files": [str(path)], "tokens_needed": 64_000}
    hashes.add(prepare(data, context=64, cache=tmp_path / "cache").train_hash)
    assert len(hashes) == 3
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_a_larger_need_extends_the_sample_and_keeps_the_evaluation_set(tmp_path: Path) -> None:
    for i in range(40):
        write_prose(tmp_path / f"{i}.txt", 5_000, seed=i)
    small, large = (
        prepare(
            {"files": [str(tmp_path / "*.txt")], "tokens_needed": need},
            context=128,
            cache=tmp_path / "cache",
        )
        for need in (300_000, 600_000)
    )
    assert np.array_equal(large.train[: len(small.train)], small.train)
    assert large.validation_hash == small.validation_hash


def test_text_too_short_says_how_much_there_is_and_what_to_do(tmp_path: Path) -> None:
    data = {"files": [str(write_prose(tmp_path / "a.txt", 60_000))], "tokens_needed": 1_000_000}
    with pytest.raises(DataError, match=r"holds 32\d,\d+ training .*1,000,000.*`epochs: 4`"):
        prepare(data, context=64, cache=tmp_path / "cache")
    corpus = prepare({**data, "epochs": 4}, context=64, cache=tmp_path / "cache")
    assert corpus.epochs == 4
    assert corpus.unique_tokens < 1_000_000 <= corpus.epochs * corpus.unique_tokens
    with pytest.raises(DataError, match=r"held-out text has .* needs 262,144.*`validation:`"):
        prepare({"files": data["files"], "evaluation_tokens": 2**18}, context=64, cache=tmp_path)
    (tmp_path / "empty.txt").touch()
    with pytest.raises(DataError, match="holds 0 training tokens"):
        prepare({"files": str(tmp_path / "empty.txt")}, context=64, cache=tmp_path / "cache")


def test_a_damaged_cache_is_named(tmp_path: Path) -> None:
    data = {"files": [str(write_prose(tmp_path / "a.txt", 40_000))]}
    prepare(data, context=64, cache=tmp_path / "cache")
    (array,) = (tmp_path / "cache").glob("*/train.npy")
    os.truncate(array, 1000)
    with pytest.raises(DataError, match=r"damaged .* delete that folder"):
        prepare(data, context=64, cache=tmp_path / "cache")


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    data = {"files": [str(write_prose(tmp_path / "a.txt", 40_000))]}
    with pytest.raises(DataError, match="cannot be kept in"):
        prepare(data, context=64, cache=tmp_path / "a.txt" / "cache")


def test_processes_that_prepare_at_the_same_time_agree(tmp_path: Path) -> None:
    write_prose(tmp_path / "a.txt", 60_000)
    code = (
        "from planner.proxies._data import prepare\n"
        "print(prepare({'files': 'a.txt'}, context=64).train_hash)"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={**os.environ, "PLANNER_CACHE": str(tmp_path / "cache")},
            stdout=subprocess.PIPE,
        )
        for _ in range(3)
    ]
    answers = {process.communicate()[0] for process in processes}
    assert len(answers) == 1
    assert all(process.returncode == 0 for process in processes)
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"sourse": "python-source"}, "did you mean `source`"),
        ({"source": "python"}, "there is no data source 'python'"),
        ({"source": "python-source", "files": "a.txt"}, "exactly one of"),
        ({"epochs": 2}, "exactly one of"),
        ({"files": ["nowhere/*.txt"]}, "no file matches 'nowhere/"),
        ({"files": []}, "must be a path or a list of paths"),
        ({"files": 3}, "must be a path or a list of paths"),
        ({"source": "python-source", "epochs": 0}, "at least 1"),
        ({"source": "python-source", "tokens_needed": 1.5}, "whole number"),
        ({"source": "python-source", "tokens_needed": True}, "whole number"),
        ({"source": "python-source", "tokenizer": 3}, "must be text"),
        ({"tokens": "train.bin", "dtype": "float32"}, "dtype 'float32' is unknown"),
    ],
)
def test_a_wrong_mapping_gets_a_sentence(
    data: dict[str, object], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=sentence):
        prepare(data, context=64, cache=tmp_path)
