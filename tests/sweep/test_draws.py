"""The greedy choice against a linear model, where the variance left is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from planner.sweep.draws import Outlook, most_telling

ROWS = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [3.0, 0.0]])
"""Four runs' derivatives by two unknowns, of which the first is wanted."""
NOISE = np.full(4, 0.5)
FLOPS = np.array([1.0, 1.0, 1.0, 4.0])


@pytest.fixture
def outlook():
    theta = np.random.default_rng(0).normal(size=(40_000, 2))
    return Outlook(theta @ ROWS.T, theta[:, :1], NOISE)


def left(rows):
    seen = ROWS[rows]
    precision = np.eye(2) + seen.T @ seen / 0.25
    return np.linalg.inv(precision)[0, 0]


def test_the_gain_is_the_variance_taken_away(outlook):
    chosen = most_telling(outlook, np.ones(4), 3)
    before = 1.0
    for count in range(1, 4):
        after = left([gain.row for gain in chosen[:count]])
        assert chosen[count - 1].variance == pytest.approx(before - after, abs=0.01)
        before = after


def test_the_best_buy_comes_first_and_not_the_best_run(outlook):
    assert most_telling(outlook, np.ones(4), 1)[0].row == 3
    assert most_telling(outlook, FLOPS, 1)[0].row == 0


def test_a_run_about_something_else_is_left_for_last(outlook):
    assert [gain.row for gain in most_telling(outlook, FLOPS, 4)][-1] == 1


def test_no_row_is_bought_twice(outlook):
    rows = [gain.row for gain in most_telling(outlook, FLOPS, 9)]
    assert sorted(rows) == [0, 1, 2, 3]
