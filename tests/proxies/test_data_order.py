"""The order of windows: a permutation an epoch, computed where it is asked for."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.proxies._order import Order, permuted


@given(st.integers(1, 5_000), st.integers(0, 2**32))
def test_a_network_is_a_permutation_of_any_count(count: int, key: int) -> None:
    moved = permuted(np.arange(count), count, (key,))
    assert sorted(moved.tolist()) == list(range(count))


def test_a_permutation_looks_like_any_other() -> None:
    """Where the first tenth goes, how far neighbours land apart, how many stay: as by chance."""
    count = 20_000
    for key in range(5):
        moved = permuted(np.arange(count), count, (key, 0, 0))
        bins = np.histogram(moved[: count // 10], 20, (0, count))[0]
        assert np.sum((bins - 100) ** 2 / 100) < 45  # chi-square with 19 degrees: p = 0.0007
        assert abs(np.corrcoef(moved[:-1], moved[1:])[0, 1]) < 0.03
        assert np.sum(moved == np.arange(count)) < 8


def test_a_place_among_billions_costs_no_memory() -> None:
    moved = permuted(np.arange(1_000), 10**12, (1,))
    assert len(set(moved.tolist())) == 1_000
    assert 0.4e12 < moved.mean() < 0.6e12


@given(
    counts=st.lists(st.integers(0, 12), min_size=1, max_size=6).filter(any),
    reach=st.none() | st.integers(1, 20),
    seed=st.integers(0, 2**32),
    cuts=st.lists(st.integers(0, 150), max_size=5),
)
def test_every_window_comes_once_an_epoch_however_it_is_interrupted(
    counts: list[int], reach: int | None, seed: int, cuts: list[int]
) -> None:
    sizes = np.array(counts)
    total = int(sizes.sum())
    shards, windows = Order(sizes, seed, reach).at(0, 2 * total)
    expected = [(i, w) for i, count in enumerate(counts) for w in range(count)]
    pairs = list(zip(shards.tolist(), windows.tolist(), strict=True))
    assert sorted(pairs[:total]) == expected == sorted(pairs[total:])
    stops = sorted({0, 2 * total, *(min(cut, 2 * total) for cut in cuts)})
    parts = [Order(sizes, seed, reach).at(a, b - a) for a, b in pairwise(stops)]
    again = [np.concatenate(part).tolist() for part in zip(*parts, strict=True)]
    assert again == [shards.tolist(), windows.tolist()]


def test_seeds_and_epochs_differ_and_a_group_is_shuffled_together() -> None:
    counts = np.full(10, 100)
    order = Order(counts, 0, None).at(0, 2_000)[0]
    assert not np.array_equal(order[:1_000], order[1_000:])
    assert not np.array_equal(order, Order(counts, 1, None).at(0, 2_000)[0])
    assert len(set(order[:100].tolist())) == 10
    grouped = Order(counts, 0, 300).at(0, 1_000)[0]
    groups = [set(part.tolist()) for part in (grouped[:300], grouped[300:600], grouped[600:900])]
    assert [len(group) for group in groups] == [3, 3, 3]
    assert len(set.union(*groups)) == 9
    assert grouped[0] != Order(counts, 5, 300).at(0, 1)[0] or grouped[-1] != grouped[0]


@pytest.mark.parametrize("reach", [None, 1])
def test_a_single_window_is_enough(reach: int | None) -> None:
    shards, windows = Order(np.array([0, 1]), 3, reach).at(0, 2)
    assert shards.tolist() == [1, 1]
    assert windows.tolist() == [0, 0]
