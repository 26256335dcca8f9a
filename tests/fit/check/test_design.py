from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from planner.finding import Severity
from planner.fit.check import check_fit, check_points, too_thin
from planner.fit.laws import CHINCHILLA
from tests.fit.planted import TRUTH, ladder, many_runs, observed

DRAWS = np.tile(TRUTH, (10, 1))


def codes(findings):
    return {finding.code for finding in findings}


def fit_codes(data, theta=TRUTH, status="converged", sigma=0.005):
    return codes(check_fit(data, theta, status, sigma, DRAWS))


def test_a_sound_ladder_raises_nothing_on_its_points():
    assert codes(check_points(ladder(noise=0.005, horizons=(1e6, 2e6, 4e6)))) == set()
    assert codes(check_points(many_runs(0.01))) == set()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (ladder().take(np.arange(4)), "at least 5"),
        (ladder().take(np.arange(3).repeat(2)), "one size"),
        (ladder(horizons=(1e6,), sizes=6), "one horizon"),
        (replace(ladder(), loss=ladder().loss - 5), "positive"),
        (replace(ladder(), flops=-ladder().flops), "overflows 64-bit"),
    ],
)
def test_evidence_too_thin_says_why(data, reason):
    assert reason in "; ".join(too_thin(data))


def test_narrow_range_says_what_would_widen_it():
    (finding,) = check_points(ladder(horizons=(1e6, 1.5e6, 2e6)))
    assert finding.code == "narrow-range"
    assert finding.cost_flops == pytest.approx(6e10 * 10**1.5)


def test_few_sizes_and_horizons():
    assert "few-sizes" in codes(check_points(ladder(sizes=3)))
    assert "few-horizons" in codes(check_points(ladder(horizons=(1e6, 8e6))))


def test_sizes_and_horizons_that_rise_together():
    params = np.geomspace(1e6, 1e9, 12)
    tokens = 20.0 * params
    data = observed(params, tokens, CHINCHILLA.predict(TRUTH, params, tokens))
    assert "collinear" in codes(check_points(data))


def test_copied_rows():
    data = ladder(noise=0.005)
    twice = data.take(np.r_[np.arange(len(data)), 0, 1])
    (finding,) = check_points(twice)
    assert finding.code == "duplicate-rows"
    assert finding.what.startswith("2 rows")


def test_unspecified_params_are_told():
    (finding,) = check_points(replace(ladder(), n_convention="unspecified"))
    assert finding.severity is Severity.INFO


def test_sizes_on_one_side_of_the_optimum():
    small = observed(
        np.repeat(np.geomspace(1e4, 4e4, 5), 3),
        np.tile([2e7, 4e7, 8e7], 5),
        np.linspace(2.0, 1.5, 15),
    )
    found = [f for f in check_fit(small, TRUTH, "converged", 0.5, DRAWS) if f.code == "one-sided"]
    assert found[0].severity is Severity.BLOCKING
    assert "below" in found[0].what
    both = many_runs(0.01)
    theta = np.array([1.8172, 482.0, 2085.0, 0.348, 0.366])
    assert "one-sided" not in fit_codes(both, theta)


def test_short_horizons_that_bend_the_law():
    data = ladder(noise=0.001, shared=0.0, horizons=(1e6, 2e6, 4e6, 8e6, 16e6))
    bent = replace(data, loss=data.loss * np.exp(0.02 * (data.tokens < 1.5e6)))
    assert fit_codes(bent) & {"trend-in-tokens", "rung-high"}
    assert not fit_codes(data) - {"blind-spots", "ridge"}


def test_clean_fits_rarely_show_a_trend():
    alarms = [
        fit_codes(ladder(noise=0.005, horizons=(1e6, 2e6, 4e6, 8e6), seed=s))
        & {"trend-in-tokens", "trend-in-params"}
        for s in range(100)
    ]
    assert sum(map(bool, alarms)) <= 5


def test_an_outlier_is_named():
    data = ladder(noise=0.002)
    loss = data.loss.copy()
    loss[4] *= 1.1
    outliers = [
        f
        for f in check_fit(replace(data, loss=loss), TRUTH, "converged", 0.002, DRAWS)
        if f.code == "outliers"
    ]
    assert "r4" in outliers[0].what


def test_an_unidentified_law_is_told():
    assert "not-identified" in fit_codes(ladder(noise=0.005), status="at bound: E")
