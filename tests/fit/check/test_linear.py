"""The score test and the split: right levels without a fault, the planted size with one."""

from __future__ import annotations

import numpy as np

from planner.fit.check.budget import SHARES
from planner.fit.check.groups import binned
from planner.fit.check.linear import Linear
from planner.fit.check.populations import split
from planner.fit.laws import CHINCHILLA
from tests.fit.clean_worlds import clean_world

RNG = np.random.default_rng(5)


def linear_of(group_count: int) -> Linear:
    world = clean_world(9)
    group = np.arange(len(world.data)) % group_count
    plain = Linear.of(world.data, CHINCHILLA, world.truth)
    return Linear(plain.r, plain.slopes, plain.scale, group, 0.0)


def with_noise(linear: Linear, shared: float) -> Linear:
    one, own = RNG.standard_normal((2, len(linear.r)))
    r = np.sqrt(shared) * one[linear.group] + np.sqrt(1 - shared) * own
    return Linear(r, linear.slopes, linear.scale, linear.group, 0.0).with_shared_noise()


def test_shares_add_up_to_the_budget():
    assert sum(SHARES.values()) <= 0.04


def test_the_size_of_a_fault_is_found_beside_the_law():
    linear = linear_of(10**6)
    pattern = (np.arange(len(linear.r)) % 7 == 3).astype(float)
    bent = Linear(
        0.02 * pattern + linear.slopes @ np.ones(5), linear.slopes, linear.scale, linear.group, 0.0
    )
    score = bent.score(np.column_stack([pattern, linear.slopes[:, 1]]))
    np.testing.assert_allclose(score.size, [0.02, 0.0], atol=1e-9)


def test_the_score_test_keeps_its_level():
    linear = linear_of(10**6)
    pattern = (linear.slopes[:, 1] > np.median(linear.slopes[:, 1])).astype(float)[:, None]
    p = np.array([with_noise(linear, 0.0).score(pattern).p()[0] for _ in range(400)])
    assert 0.02 <= (p < 0.05).mean() <= 0.08


def test_five_trunks_are_not_many_certainties():
    linear = linear_of(5)
    one_trunk = (linear.group == 2).astype(float)[:, None]
    p = np.array([with_noise(linear, 0.5).score(one_trunk).p()[0] for _ in range(200)])
    assert (p < 0.05).mean() <= 0.10


def test_noise_is_seldom_split_and_two_populations_are():
    columns = np.column_stack([np.ones(30), RNG.standard_normal((30, 4))])
    noise = RNG.standard_normal((100, 30))
    assert sum(split(columns, row).real for row in noise) <= 3
    high = np.arange(30) % 4 == 0
    found = split(columns, 8.0 * high + noise[0])
    assert found.real
    assert (found.high == high).all()
    assert abs(found.shift - 8.0) < 1.5


def test_values_nearly_all_distinct_are_binned():
    axis = np.geomspace(1.0, 100.0, 30)
    assert len(np.unique(binned(axis))) == 6
    levels = np.repeat(axis[:5], 6)
    assert (binned(levels) == levels).all()
