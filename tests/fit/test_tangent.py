"""Draws through the losses: the algebra they promise, and what each kind of noise does to them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from planner.fit.forms.coupled import COUPLED
from planner.fit.laws import CHINCHILLA
from planner.fit.points import Points
from planner.fit.solve import solve
from planner.fit.tangent import even_moves, linearise, pull_back, uneven_moves, unevenness
from tests.fit.planted import ladder

HORIZONS = (1e6, 2e6, 4e6, 8e6, 1.6e7)


def grid(noise: float, *, seed: int = 0, uneven: float = 0.0, horizons=HORIZONS) -> Points:
    """Return the points of 7 sizes x 5 horizons with independent noise, growing as N^uneven."""
    calm = ladder(sizes=7, horizons=horizons)
    x = np.log(calm.params)
    spread = noise * np.exp(uneven * (x - x.mean()))
    wobble = np.random.default_rng(seed).standard_normal(len(x)) * spread
    return Points.of(calm.params, calm.tokens, calm.loss * np.exp(wobble))


def tangent_of(points: Points, member=None, delta=np.inf):
    own = np.eye(len(points)) if member is None else member
    free = solve(points, CHINCHILLA, delta).free
    return linearise(points, CHINCHILLA, free, delta, own), free


def test_least_squares_moves_have_the_textbook_covariance():
    points = grid(0.003)
    tangent, _ = tangent_of(points)
    moves, rho = even_moves(tangent, 40_000, np.random.default_rng(0))
    jac, r = tangent.slopes, tangent.psi
    s2 = float(r @ r) / 30 * 30 / 28  # a t of 30 freedoms has the variance 30 / 28
    expected = s2 * np.linalg.inv(jac.T @ jac)
    assert rho == 0.0
    assert np.cov(moves.T) == pytest.approx(expected, rel=0.05, abs=0.05 * expected.max())


@pytest.mark.parametrize("law", [CHINCHILLA, COUPLED], ids=lambda law: law.name)
def test_pulled_back_draws_predict_what_was_drawn(law):
    points = grid(0.002, horizons=(1e6, 4e6, 1.6e7, 6.4e7, 2.56e8))
    free = solve(points, law, np.inf).free
    tangent = linearise(points, law, free, np.inf, np.eye(len(points)))
    moves, _ = even_moves(tangent, 200, np.random.default_rng(0))
    drawn = law.evaluate(points, pull_back(points, law, free, moves))[0]
    here = law.evaluate(points, free[None])[0]
    plane = np.linalg.qr(tangent.slopes)[0]
    wanted = moves @ tangent.slopes.T @ plane
    missed = ((drawn - here) @ plane - wanted) / wanted.std(axis=0)
    assert np.quantile(np.linalg.norm(missed, axis=1), 0.9) < 0.06


def test_draws_stay_inside_the_box():
    points = grid(0.05)
    tangent, free = tangent_of(points)
    moves, _ = even_moves(tangent, 200, np.random.default_rng(0))
    low, high = CHINCHILLA.box(points)
    drawn = pull_back(points, CHINCHILLA, free, moves)
    assert (drawn >= low).all()
    assert (drawn <= high).all()


def test_noise_that_grows_with_size_is_noticed_and_even_noise_seldom():
    columns = np.column_stack([grid(0.003).x, grid(0.003).z])
    even, uneven = (
        [unevenness(tangent_of(grid(0.003, seed=i, uneven=u))[0], columns) for i in range(60)]
        for u in (0.0, 0.6)
    )
    assert np.mean(np.array(even) < 0.15) < 0.3
    assert np.mean(np.array(uneven) < 0.15) > 0.8


def test_a_copy_of_every_row_in_its_group_tells_nothing_new():
    points = grid(0.003)
    fields = {name: np.tile(getattr(points, name), 2) for name in ("x", "z", "y", "weights")}
    twice = replace(points, **fields, slack=np.ones(70), extra=np.full(70, np.nan))
    once, _ = tangent_of(points)
    grouped, _ = tangent_of(twice, np.tile(np.eye(35), (2, 1)))
    alone, _ = tangent_of(twice)
    spread = [
        uneven_moves(t, 4000, np.random.default_rng(0)).std(axis=0) for t in (once, grouped, alone)
    ]
    assert spread[1] == pytest.approx(spread[0], rel=0.15)
    assert (spread[2] < 0.8 * spread[0]).all()


def test_shared_noise_widens_the_draws_of_few_groups():
    data = ladder(noise=0.005, shared=0.9, sizes=8, seed=3)
    points = Points.of(data.params, data.tokens, data.loss)
    member = np.kron(np.eye(8), np.ones((3, 1)))
    levels = []
    for groups in (member, np.eye(24)):
        tangent, _ = tangent_of(points, groups)
        moves, rho = even_moves(tangent, 2000, np.random.default_rng(0))
        levels.append((moves @ tangent.slopes.mean(axis=0)).std())
        assert (rho > 0.5) == (groups is member)
    assert levels[0] > 1.3 * levels[1]


def test_a_bound_that_holds_says_nothing_and_one_that_is_crossed_counts():
    points = grid(0.003)
    loose = replace(points, slack=np.where(np.arange(35) < 5, 0.0, 1.0))
    far = replace(loose, y=loose.y + np.where(np.arange(35) < 5, 0.3, 0.0))
    tangent, free = tangent_of(far)
    assert len(tangent.psi) == 30
    crossed = replace(far, y=far.y - np.where(np.arange(35) < 5, 0.6, 0.0))
    kept = linearise(crossed, CHINCHILLA, free, np.inf, np.eye(35))
    assert len(kept.psi) == 35


def test_a_narrow_huber_delta_still_measures_its_own_slope():
    points = grid(0.003)
    wide, _ = tangent_of(points, delta=0.004)
    narrow, _ = tangent_of(points, delta=1e-4)
    spread = [even_moves(t, 2000, np.random.default_rng(0))[0].std(axis=0) for t in (wide, narrow)]
    assert (spread[1] / spread[0] > 0.8).all()
    assert (spread[1] / spread[0] < 2.0).all()
