"""The next group of remote shards comes while this one is read: in time, in bounds, in order."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from planner.errors import DataError
from planner.proxies._data import Batches, Corpus
from planner.proxies._order import Order
from planner.proxies._stream import BLOCK, Stream
from tests.proxies.shard_files import write_bins
from tests.proxies.stream_tools import opened, uploaded

CACHE = 400_000
"""Room for nearly five of twelve shards of 82 kB; a group holds one of them."""


class Watched:
    """Stands before a store's downloads: notes who asks for what, can hold and break them."""

    def __init__(self, store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead: list[str] = []
        self.read: list[str] = []
        self.broken: Callable[[bool], bool] = lambda ahead: False
        self.open = threading.Event()
        self.open.set()
        get = store.get_file

        def get_file(store, path: str, target: str, **more: object) -> None:
            ahead = threading.current_thread().name == "fetch-ahead"
            (self.ahead if ahead else self.read).append(path)
            if ahead:
                assert self.open.wait(20)
            if self.broken(ahead):
                raise ConnectionResetError("the line broke")
            get(path, target, **more)

        monkeypatch.setattr(type(store), "get_file", get_file)


@pytest.fixture
def watched(store, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(store, monkeypatch)


def corpus_of(tmp_path: Path, store, cache: int = CACHE) -> Corpus:
    url = uploaded(store, write_bins(tmp_path / "d", count=12, tokens=41_000))
    corpus = opened(tmp_path, shards=url, cache=cache)
    assert isinstance(corpus.train, Stream)
    assert corpus.train.selection.reach is not None
    return corpus


def fetched(tmp_path: Path) -> int:
    """Return the bytes of whole shards on this machine."""
    folder = tmp_path / "cache" / "fetched"
    return sum(p.stat().st_size for p in folder.iterdir() if not p.name.startswith("."))


def held_though_deleted() -> int:
    """Return how many files this process holds open that are in no folder any more."""
    links = Path("/proc/self/fd").iterdir()
    return sum(os.readlink(link).endswith("(deleted)") for link in links if link.is_symlink())


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.002)


def order_of(corpus: Corpus, seed: int = 0) -> Order:
    assert isinstance(corpus.train, Stream)
    return Order(corpus.train.counts, seed, corpus.train.selection.reach)


def test_the_next_group_is_there_when_it_is_read(tmp_path: Path, store, watched: Watched) -> None:
    """Only the first shard is waited for; each later one came by the thread that goes ahead."""
    corpus = corpus_of(tmp_path, store)
    assert isinstance(corpus.train, Stream)
    batches = Batches(corpus.train, 32, 0)
    order, groups = order_of(corpus), set()
    for start in range(0, len(batches) - BLOCK, BLOCK):
        batches.at(start, BLOCK)
        groups.add(order.group(start)[0])
        until(lambda: len(watched.ahead) >= min(11, len(groups)))
        assert fetched(tmp_path) <= CACHE
    assert len(watched.read) == 1
    assert len(set(watched.ahead + watched.read)) == len(watched.ahead) + 1 == 12


def test_a_group_is_read_while_the_next_is_on_its_way(
    tmp_path: Path, store, watched: Watched
) -> None:
    corpus = corpus_of(tmp_path, store)
    watched.open.clear()
    batches = Batches(corpus.train, 32, 0)
    for start in range(0, order_of(corpus).group(0)[1] - 3 * BLOCK, BLOCK):
        batches.at(start, BLOCK)
    assert len(watched.read) == 1
    watched.open.set()


def test_windows_come_in_the_same_order_however_fast_shards_arrive(
    tmp_path: Path, store, watched: Watched
) -> None:
    """Also from the middle, where an interrupted run goes on, and over the border of an epoch."""
    corpus = corpus_of(tmp_path, store)
    assert isinstance(corpus.train, Stream)
    stream = corpus.train
    order = Order(stream.counts, 5, stream.selection.reach)
    count = 2 * len(stream)
    alone = stream.read(*order.at(0, count))
    for begin in (0, 1_000, len(stream) - 70):
        batches = Batches(stream, 32, 5, epochs=2)
        parts = [batches.at(at, 48) for at in range(begin, count - 48, 48)]
        np.testing.assert_array_equal(np.concatenate(parts), alone[begin : begin + 48 * len(parts)])


def test_shards_left_behind_give_their_room_back(tmp_path: Path, store, watched: Watched) -> None:
    corpus = corpus_of(tmp_path, store)
    before = held_though_deleted()
    batches = Batches(corpus.train, 32, 0)
    for start in range(0, len(batches) - BLOCK, BLOCK):
        batches.at(start, BLOCK)
        assert held_though_deleted() <= before + 1
        assert fetched(tmp_path) <= CACHE


def test_nothing_is_fetched_that_the_run_will_not_read(
    tmp_path: Path, store, watched: Watched
) -> None:
    corpus = corpus_of(tmp_path, store)
    short = Batches(corpus.train, 32, 0, until=order_of(corpus).group(0)[1])
    short.at(0, BLOCK)
    longer = Batches(corpus.train, 32, 0, until=order_of(corpus).group(0)[1] + 1)
    assert not watched.ahead
    longer.at(0, BLOCK)
    until(lambda: len(watched.ahead) == 1)


def test_a_cache_without_room_for_two_groups_fetches_none_ahead(
    tmp_path: Path, store, watched: Watched
) -> None:
    corpus = corpus_of(tmp_path, store, cache=150_000)
    batches = Batches(corpus.train, 32, 0)
    for start in range(0, len(batches) - BLOCK, BLOCK):
        batches.at(start, BLOCK)
    assert not watched.ahead
    assert len(watched.read) == 12


def test_what_cannot_be_fetched_ahead_is_tried_again_when_it_is_read(
    tmp_path: Path, store, watched: Watched
) -> None:
    corpus = corpus_of(tmp_path, store)
    watched.broken = lambda ahead: ahead
    batches = Batches(corpus.train, 32, 0)
    assert len(batches.at(0, len(batches))) * 32 == corpus.unique_tokens
    for path in (tmp_path / "cache" / "fetched").iterdir():
        path.unlink()
    watched.broken = lambda ahead: True
    with pytest.raises(DataError, match="after 4 attempts: the line broke"):
        Batches(corpus.train, 32, 1).at(0, 1)


def test_the_thread_ends_with_its_reader(tmp_path: Path, store, watched: Watched) -> None:
    before = set(threading.enumerate())
    batches = Batches(corpus_of(tmp_path, store).train, 32, 0)
    batches.at(0, BLOCK)
    (mine,) = [t for t in set(threading.enumerate()) - before if t.name == "fetch-ahead"]
    del batches
    gc.collect()
    mine.join(20)
    assert not mine.is_alive()
