from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from planner.errors import EvidenceError, UsageError
from planner.fit.isoflop import isoflop, levels_of
from planner.fit.laws import CHINCHILLA, optimal_params
from tests.fit.isoflop_world import ASYMMETRIC, BESIROGLU, HOFFMANN, isoflop_runs
from tests.fit.planted import ladder, observed

WORLDS = (BESIROGLU, HOFFMANN, ASYMMETRIC)


def error_at_1000x(runs, method, truth):
    target = 1000 * runs.flops.max()
    return isoflop(runs, method).optimal_params(target).value / optimal_params(truth, target) - 1


@pytest.mark.parametrize("truth", WORLDS)
@pytest.mark.parametrize("off", [(1.0, 1.0), (3.0, 3.0), (1.0, 10**0.5), (1.0, 10**-0.5)])
def test_the_valley_is_exact_without_noise_wherever_the_sizes_lie(truth, off):
    runs = isoflop_runs(truth, width=16.0, off=off)
    assert abs(error_at_1000x(runs, "valley", truth)) < 1e-4


@pytest.mark.parametrize("truth", WORLDS)
@pytest.mark.parametrize("off", [(1.0, 1.0), (3.0, 3.0), (1.0, 10**0.5), (10**-0.25, 10**0.25)])
def test_the_cubic_is_right_without_noise_wherever_the_sizes_lie(truth, off):
    for width in (8.0, 16.0):
        runs = isoflop_runs(truth, width=width, off=off)
        assert abs(error_at_1000x(runs, "cubic", truth)) < 0.006


def test_the_cubic_looks_farther_when_the_runs_are_noisy():
    shares = []
    for noise in (0.0, 0.001, 0.01):
        near = isoflop(isoflop_runs(HOFFMANN, noise=noise, off=(1.0, 2.0)), "cubic").profiles.near
        shares.append(near.mean())
    assert shares[0] < shares[1] < shares[2]


def test_sizes_at_odd_distances_and_repeated_runs_make_a_cubic():
    truth, rng = BESIROGLU, np.random.default_rng(2)
    for noise in (0.0, 0.003):
        wide = isoflop_runs(truth, sizes=15, width=12.0, noise=noise)
        odd = np.isin(np.arange(len(wide)) % 15, rng.choice(15, 8, replace=False))
        rows = np.r_[np.flatnonzero(odd), np.flatnonzero(odd)[::3]]
        assert abs(error_at_1000x(wide.take(rows), "cubic", truth)) < 0.01 + 100 * noise


def test_the_parabola_is_wrong_by_what_is_published_even_without_noise():
    wrong = [error_at_1000x(isoflop_runs(truth), "parabola", truth) for truth in WORLDS]
    assert wrong == pytest.approx([-0.01, 0.034, 0.18], abs=0.005)


def test_the_exponent_is_the_laws_at_the_valleys_bottoms():
    truth = HOFFMANN
    found = isoflop(isoflop_runs(truth), "valley").exponent
    assert found.value == pytest.approx(truth[4] / (truth[3] + truth[4]), rel=1e-5)


@pytest.mark.parametrize("method", ["cubic", "valley"])
def test_intervals_of_the_levels_and_beyond_cover(method):
    truth, inside, beyond = ASYMMETRIC, [], []
    for seed in range(30):
        runs = isoflop_runs(truth, noise=0.003, seed=seed)
        fit = isoflop(runs, method, seed=seed)
        target = 1000 * runs.flops.max()
        beyond.append(fit.optimal_params(target).contains(float(optimal_params(truth, target))))
        inside += [
            level.best.contains(float(optimal_params(truth, level.flops)))
            for level in fit.levels
            if level.best
        ]
    assert 0.8 <= np.mean(beyond) <= 1.0
    assert 0.84 <= np.mean(inside) <= 0.97


def test_the_valley_is_half_as_wide_as_the_cubic():
    runs = isoflop_runs(BESIROGLU, noise=0.003)
    target = 100 * runs.flops.max()
    cubic, valley = (isoflop(runs, m).optimal_params(target) for m in ("cubic", "valley"))
    assert valley.relative_width < 0.6 * cubic.relative_width


def test_one_bad_run_does_not_move_the_optimum():
    runs = isoflop_runs(BESIROGLU, noise=0.002)
    loss = runs.loss.copy()
    loss[15] *= 1.08
    plain, spoilt = (
        isoflop(r, "valley").optimal_params(1e22).value for r in (runs, replace(runs, loss=loss))
    )
    assert spoilt == pytest.approx(plain, rel=0.1)


def test_a_level_that_misses_its_best_size_is_named_and_left_out():
    wider = isoflop_runs(BESIROGLU, sizes=9)
    too_large = (wider.flops < 1e19) & (wider.params > 0.9 * optimal_params(BESIROGLU, 6e18))
    fit = isoflop(wider.take(~too_large), "parabola")
    assert [level.best is None for level in fit.levels] == [True, False, False, False, False]
    assert "still falls above" in fit.levels[0].why
    assert "largest size" in fit.levels[0].why


def test_runs_that_miss_their_level_a_little_are_moved_to_it():
    truth, rng = BESIROGLU, np.random.default_rng(0)
    runs = isoflop_runs(truth)
    tokens = runs.tokens * np.exp(rng.uniform(-0.15, 0.15, len(runs)))
    missed = observed(runs.params, tokens, CHINCHILLA.predict(truth, runs.params, tokens))
    assert abs(error_at_1000x(missed, "valley", truth)) < 0.02


def test_units_and_order_do_not_matter():
    runs = isoflop_runs(HOFFMANN, noise=0.002)
    order = np.random.default_rng(1).permutation(len(runs))
    scaled = observed(1.37 * runs.params, 0.61 * runs.tokens, runs.loss / np.log(2)).take(order)
    target = 100 * runs.flops.max()
    for method in ("parabola", "cubic", "valley"):
        plain = isoflop(runs, method).optimal_params(target).value
        other = isoflop(scaled, method).optimal_params(1.37 * 0.61 * target).value
        assert other == pytest.approx(1.37 * plain, rel=1e-6)


def test_levels_are_found_in_the_data():
    flops = np.array([1e18, 1.2e18, 9e19, 1e20, 1.1e18])
    assert levels_of(flops).tolist() == [0, 0, 1, 1, 0]


def test_a_ladder_without_levels_is_refused_with_a_sentence():
    with pytest.raises(EvidenceError, match="needs 5 sizes at each of 2 levels"):
        isoflop(ladder(noise=0.005), "cubic")


def test_levels_all_on_one_side_are_refused():
    runs = isoflop_runs(BESIROGLU, sizes=11)
    large = runs.take(runs.params > 1.2 * optimal_params(BESIROGLU, runs.flops))
    with pytest.raises(EvidenceError, match="where the loss falls"):
        isoflop(large, "parabola")


def test_an_unknown_profile_is_refused():
    with pytest.raises(UsageError, match="known: parabola, cubic, valley"):
        isoflop(isoflop_runs(BESIROGLU), "quintic")
