from __future__ import annotations

import numpy as np
import pytest

from planner.errors import EvidenceError, UsageError
from planner.fit.curve import fit_curve
from planner.fit.curve_forms import BROKEN_CURVE, FLOOR_CURVE
from planner.fit.points import Points

FLOOR = np.array([1.7, 400.0, 0.35])
BROKEN = np.array([0.5, 3.0, 0.05, 0.4, 3e7, 0.3])
X = np.geomspace(1e6, 1e9, 12)


def noisy(form, theta, x, noise, seed):
    return form.predict(theta, x) * np.exp(
        noise * np.random.default_rng(seed).standard_normal(len(x))
    )


@pytest.mark.parametrize(("form", "theta"), [(FLOOR_CURVE, FLOOR), (BROKEN_CURVE, BROKEN)])
def test_a_noise_free_curve_comes_back_whole(form, theta):
    fit = fit_curve(X, form.predict(theta, X), law=form.name)
    assert fit.status == "converged"
    assert list(fit.params.values()) == pytest.approx(theta.tolist(), rel=1e-6)


@pytest.mark.parametrize(("form", "theta"), [(FLOOR_CURVE, FLOOR), (BROKEN_CURVE, BROKEN)])
def test_slopes_are_the_forms_own(form, theta):
    points = Points.of(X, np.ones_like(X), form.predict(theta, X))
    low, high = form.box(points)
    phi = (low + 0.4 * (high - low))[None]
    slopes = form.evaluate(points, phi)[1][0]
    for j in range(phi.shape[1]):
        step = np.zeros(phi.shape[1])
        step[j] = 1e-6
        ends = [form.evaluate(points, phi + s * step)[0][0] for s in (1, -1)]
        assert slopes[:, j] == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-7)
    at = form.predict(form.theta_of(points, phi), X)
    assert np.log(at) == pytest.approx(form.evaluate(points, phi)[0], rel=1e-12)


@pytest.mark.parametrize(("form", "theta"), [(FLOOR_CURVE, FLOOR), (BROKEN_CURVE, BROKEN)])
def test_intervals_cover_ten_times_beyond_the_data(form, theta):
    far, inside = np.array([1e10]), []
    for seed in range(20):
        fit = fit_curve(X, noisy(form, theta, X, 0.005, seed), law=form.name, seed=seed)
        inside.append(fit.predict(far)[0].contains(float(form.predict(theta, far)[0])))
    assert sum(inside) >= 15


def test_a_break_is_chosen_where_it_predicts_larger_x_better():
    fit = fit_curve(X, noisy(BROKEN_CURVE, BROKEN, X, 0.003, 0))
    assert fit.form.name == "broken"
    assert fit.held_out["broken"] < fit.held_out["floor"]
    assert "predicts larger x better" in fit.why


def test_a_plain_curve_is_not_given_a_break():
    names = [fit_curve(X, noisy(FLOOR_CURVE, FLOOR, X, 0.005, s)).form.name for s in range(8)]
    assert names.count("floor") >= 7


def test_a_break_at_the_edge_is_refused_and_said():
    edge = BROKEN.copy()
    edge[4], edge[5] = X[-2], 0.1
    y = BROKEN_CURVE.predict(edge, X)
    with pytest.raises(EvidenceError, match="at the edge of the data"):
        fit_curve(X, y, law="broken")
    assert fit_curve(X, y).form.name == "floor"


def test_one_outlier_does_not_move_the_curve():
    y = noisy(FLOOR_CURVE, FLOOR, X, 0.002, 1)
    spoilt = y.copy()
    spoilt[5] *= 1.1
    far = np.array([1e10])
    plain, robust = (fit_curve(X, v, law="floor").predict(far)[0].value for v in (y, spoilt))
    assert robust == pytest.approx(plain, rel=0.005)


def test_units_and_order_do_not_matter():
    y = noisy(FLOOR_CURVE, FLOOR, X, 0.005, 2)
    order = np.random.default_rng(0).permutation(len(X))
    plain = fit_curve(X, y, law="floor").predict(np.array([1e10]))[0]
    other = fit_curve(0.61 * X[order], y[order] / np.log(2), law="floor")
    assert other.predict(np.array([0.61e10]))[0].value == pytest.approx(
        plain.value / np.log(2), rel=1e-6
    )


def test_a_floor_that_collapsed_is_said():
    x = np.geomspace(1e8, 1.6e8, 5)
    fit = fit_curve(x, noisy(FLOOR_CURVE, FLOOR, x, 0.01, 0))
    assert fit.status == "at bound: E"


def test_few_points_are_not_tested_for_a_break():
    fit = fit_curve(X[:6], FLOOR_CURVE.predict(FLOOR, X[:6]))
    assert fit.form.name == "floor"
    assert "too few points" in fit.why


@pytest.mark.parametrize(
    ("x", "y", "law", "match"),
    [
        (X, -FLOOR_CURVE.predict(FLOOR, X), "auto", "positive and finite"),
        (X, np.full(12, np.nan), "auto", "positive and finite"),
        (X, np.ones(3), "auto", "one length"),
        (X, np.ones(12), "quadratic", "known: auto, floor, broken"),
    ],
)
def test_what_is_no_data_is_refused(x, y, law, match):
    with pytest.raises(UsageError, match=match):
        fit_curve(x, y, law=law)


@pytest.mark.parametrize(("count", "law"), [(3, "auto"), (8, "broken")])
def test_too_few_points_are_refused(count, law):
    with pytest.raises(EvidenceError, match="distinct x, at least"):
        fit_curve(X[:count], FLOOR_CURVE.predict(FLOOR, X[:count]), law=law)


def test_a_curve_is_not_read_at_nothing():
    fit = fit_curve(X, FLOOR_CURVE.predict(FLOOR, X))
    with pytest.raises(UsageError, match="positive, finite x"):
        fit.predict(np.array([0.0]))
