"""What the law leaves in the losses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from planner.fit.check import check_fit
from tests.fit.check.codes import codes, one, solved
from tests.fit.clean_worlds import clean_world
from tests.fit.faults import gross_outliers
from tests.fit.planted import TRUTH, ladder

DATA = clean_world(0).data
RNG = np.random.default_rng(3)
SOME = RNG.random(len(DATA)) < 0.3
BLANK = np.full(len(DATA), np.nan)


def raised(data, relative):
    return replace(data, loss=data.loss * np.exp(relative))


def test_an_outlier_is_named():
    shift = 0.1 * (np.arange(len(DATA)) == 4)
    finding = one(solved(raised(DATA, shift)), "outliers")
    assert "run-04" in finding.what
    assert "1 too high, 0 too low" in finding.what


def test_outliers_that_decide_the_answer():
    found = codes(solved(gross_outliers(clean_world(1001), 1.0)))
    assert {"huber-sensitive", "outliers"} <= found


def test_three_runs_of_one_side_at_the_top_do_not_hide_each_other():
    for seed in (3000, 3004, 3010, 3041, 3046):
        spoilt = gross_outliers(replace(clean_world(seed), rng=np.random.default_rng(seed)), 1.0)
        assert "outliers" in codes(solved(spoilt))


def test_noise_with_heavy_tails_is_no_outlier():
    raised_by = [codes(solved(clean_world(seed, 5.0).data)) for seed in range(40)]
    assert sum("outliers" in found for found in raised_by) <= 1


def test_a_rung_that_was_not_tuned_like_the_others():
    middle = DATA.params == np.unique(DATA.params)[2]
    finding = one(solved(raised(replace(DATA, lr=BLANK), 0.03 * middle)), "rung-high")
    assert f"{np.unique(DATA.params)[2]:.3g} parameters" in finding.what


def test_short_horizons_that_bend_the_law():
    data = ladder(noise=0.001, shared=0.0, horizons=(1e6, 2e6, 4e6, 8e6, 16e6))
    bent = raised(data, 0.02 * (data.tokens < 1.5e6))
    assert codes(solved(bent)) & {"trend-in-tokens", "rung-high"}
    assert not codes(solved(data)) - {"one-sided"}


def test_losses_that_follow_the_learning_rate():
    off = RNG.uniform(-2, 2, len(DATA))
    spoilt = raised(replace(DATA, lr=DATA.lr * np.exp(off)), 0.0165 * off**2 / DATA.loss)
    assert "trend-in-lr" in codes(solved(spoilt))


def test_an_unnamed_second_population():
    finding = one(solved(raised(DATA, 0.04 * SOME)), "two-populations")
    assert finding.what.startswith(f"{SOME.sum()} of")


def test_noise_that_is_not_even():
    small = DATA.flops < np.median(DATA.flops)
    noisy = raised(DATA, 0.03 * small * RNG.standard_normal(len(DATA)))
    assert "uneven-noise" in codes(solved(noisy))


def test_runs_of_one_size_that_share_noise():
    data = ladder(noise=0.001, shared=0.0, sizes=7, horizons=(1e6, 2e6, 4e6, 8e6, 16e6))
    size = np.unique(data.params, return_inverse=True)[1]
    shared = raised(data, 0.01 * RNG.standard_normal(7)[size])
    alone = replace(shared, group=shared.key)
    found = codes(solved(alone))
    assert "clustered-rows" in found
    assert "clustered-rows" not in codes(solved(shared))


def test_runs_that_hold_another_law_scatter():
    found = check_fit(DATA, TRUTH, "converged", 0.06, np.tile(TRUTH, (10, 1)))
    assert "large-scatter" in codes(found)


def test_forty_sound_tables_raise_hardly_an_alarm():
    tables = [clean_world(seed).data for seed in range(40)]
    raised_by = [codes(solved(table)) for table in tables]
    assert sum(map(bool, raised_by)) <= 4, raised_by


def test_censored_rows_are_no_outliers():
    shift = 0.1 * (np.arange(len(DATA)) == 4)
    spoilt = replace(raised(DATA, shift), censored=shift > 0)
    truth = clean_world(0).truth
    found = check_fit(spoilt, truth, "converged", 0.005, np.tile(truth, (10, 1)))
    assert "outliers" not in codes(found)


def test_three_long_runs_that_the_law_runs_through_are_not_called_quiet():
    data = ladder(noise=0.01, sizes=5, horizons=(5e5, 1e6, 6e6), seed=4)
    few = data.take((data.tokens < 5e6) | (np.cumsum(data.tokens > 5e6) <= 3))
    assert len(few) == 13
    assert "uneven-noise" not in codes(solved(few))
