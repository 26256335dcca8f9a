"""How the replay of the size decision judges: shares of a grid's cost, answers by parabolas."""

from __future__ import annotations

import numpy as np
import pytest

from planner.fit.laws import CHINCHILLA, optimal_params
from planner.sweep.replay.pool import Offer, Pool, Seen, Target
from tests.benchmarks.draws_design import DrawsDesign
from tests.benchmarks.equal_cost import again, interval, needed, worst_from
from tests.benchmarks.replay_size import IsoFlopGrid
from tests.benchmarks.size_answers import parabolas, plain_law, posterior
from tests.benchmarks.size_question import Question, top_level

TRUTH = np.array([1.8172, 482.01, 2085.43, 0.3478, 0.3658])
TOP = 1e21
BEST = np.log(optimal_params(TRUTH, TOP))


def bought(levels, off=(-1.2, -0.6, 0.0, 0.6, 1.2)):
    """Runs without noise, at sizes round the best of each level of compute."""
    flops = np.repeat(np.asarray(levels, dtype=float), len(off))
    params = optimal_params(TRUTH, flops) * np.exp(np.tile(off, len(levels)))
    tokens = flops / 6.0 / params
    one = np.ones(len(flops))
    return Seen(params, tokens, one, one, flops, CHINCHILLA.predict(TRUTH, params, tokens))


@pytest.fixture
def asked():
    seen = bought([1e19, 1e20])
    columns = seen.params, seen.tokens, seen.batch_tokens, seen.lr, seen.flops, seen.loss
    pool = Pool(*columns, target=Target(np.nan, np.nan, TOP))
    sizes = np.linspace(BEST - 4.0, BEST + 2.0, 2001)
    loss = np.log(CHINCHILLA.predict(TRUTH, np.exp(sizes), TOP / 6.0 / np.exp(sizes)))
    return Question(pool, np.array([0.0, 1.0, np.log(6.0)]), sizes, loss, 0.05, 0.0)


def test_the_truth_is_no_error_and_wastes_nothing(asked):
    assert asked.judge(asked.log_best) == pytest.approx((0.0, 0.0))
    error, waste = asked.judge(asked.log_best + 0.5)
    assert error == pytest.approx(0.5)
    assert waste > 0.0


def test_every_analysis_finds_the_size_without_noise(asked):
    seen = bought([1e19, 1e20])
    for answer in (parabolas, posterior, plain_law):
        assert abs(answer(asked, seen) - BEST) < 0.15


def test_one_level_goes_on_with_the_root_of_compute(asked):
    moved = np.log(optimal_params(TRUTH, 1e20)) + 0.5 * np.log(10.0)
    assert parabolas(asked, bought([1e20])) == pytest.approx(moved, abs=0.05)


def test_without_a_bottom_inside_the_least_loss_goes_on(asked):
    seen = bought([1e20], off=(0.5, 1.0, 1.5))
    assert parabolas(asked, seen) == pytest.approx(np.log(seen.params[0]) + 0.5 * np.log(10.0))


def test_the_top_level_is_the_highest_with_five_runs():
    assert top_level(np.array([1e20] * 5 + [1e21] * 5 + [1e22])) == pytest.approx(1e21)


def test_a_policy_is_there_when_it_stays_there():
    errors = np.array([[0.5, 0.1, 0.3, 0.1], [0.5, 0.4, 0.4, 0.4]])
    assert worst_from(errors)[0].tolist() == [0.5, 0.3, 0.3, 0.1]
    assert needed(errors, (1.0, 2.0, 4.0, 8.0), 0.2).tolist() == [8.0, np.inf]
    assert needed(errors, (1.0, 2.0, 4.0, 8.0), np.array([0.3, 0.5])).tolist() == [2.0, 1.0]


def test_seeds_are_drawn_again_alike_and_bracket_what_was_found():
    values = np.random.default_rng(1).normal(size=(20, 3))
    tables = again(values)
    assert np.array_equal(tables[0], values)
    assert np.array_equal(again(2.0 * values), 2.0 * tables)
    low, high = interval(tables[1:].mean(axis=1))
    assert (low < values.mean(axis=0)).all()
    assert (values.mean(axis=0) < high).all()


def test_a_spaced_grid_buys_whole_profiles_apart_and_the_rest_last():
    flops = np.repeat([1e19, 1.3e19, 2e19, 3e19], [6, 6, 3, 6])
    index = np.arange(len(flops))
    offer = Offer(flops, flops, flops, flops, flops, index)
    rng = np.random.default_rng(0)
    none = bought([])
    plain, spaced = (
        flops[grid.propose(offer, none, Target(np.nan, np.nan, TOP), 0.0, rng)].tolist()
        for grid in (IsoFlopGrid(), IsoFlopGrid("spaced", 4))
    )
    assert plain == sorted(plain)
    assert spaced == [1e19] * 6 + [3e19] * 6 + [1.3e19] * 6 + [2e19] * 3


def test_a_design_starts_on_the_cheapest_share():
    flops = np.arange(1.0, 101.0)[::-1]
    offer = Offer(flops, flops, flops, flops, flops, np.arange(100))
    design = DrawsDesign("d", lambda *_: pytest.fail("nothing is known yet"), cheap=0.07)
    rng = np.random.default_rng(0)
    chosen = design.propose(offer, bought([]), Target(np.nan, np.nan, TOP), 0.0, rng)
    assert len(chosen) == 4
    assert flops[chosen].max() <= 7.0
