from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from planner.fit import general
from planner.fit.forms import FORMS
from planner.fit.general import refit_general, solve_general
from tests.fit.planted_forms import sample

DELTA = 0.006
forms = pytest.mark.parametrize("name", ["coupled", "bounded-rational", "farseer"])


@forms
@pytest.mark.parametrize("delta", [DELTA, np.inf])
def test_no_other_start_ends_lower(name, delta):
    law, points = FORMS[name], sample(name, 60, 0.005, 3)
    solution = solve_general(points, law, delta)
    assert solution.converged
    low, high = law.box(points)
    rng = np.random.default_rng(0)
    base = law.starts(points)
    many = base[rng.integers(len(base), size=60)]
    many = many + 0.15 * (high - low) * rng.standard_normal(many.shape)
    other = solve_general(points, law, delta, many)
    assert solution.objective <= other.objective * (1 + 1e-9)


@forms
def test_an_independent_optimiser_finds_nothing_lower(name):
    law, points = FORMS[name], sample(name, 60, 0.005, 5)
    solution = solve_general(points, law, DELTA)

    def objective(phi):
        log_loss, slopes = law.evaluate(points, phi[None])
        r = (log_loss - points.y)[0]
        return points.cost(r, DELTA), slopes[0].T @ np.clip(r, -DELTA, DELTA)

    low, high = law.box(points)
    options = {"ftol": 1e-15, "gtol": 1e-12, "maxiter": 2000, "maxfun": 4000}
    for nudge in (0.0, 1e-2):
        start = np.clip(solution.free + nudge, low, high)
        bounds = list(zip(low, high, strict=True))
        end = minimize(
            objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options
        )
        assert solution.objective <= end.fun * (1 + 1e-9)


def test_refits_are_the_solves_of_their_resamples():
    law, points = FORMS["coupled"], sample("coupled", 80, 0.004, 7)
    start = solve_general(points, law, DELTA).free
    rng = np.random.default_rng(1)
    weights = rng.multinomial(80, np.full(80, 1 / 80), size=70).astype(float)
    free, ended = refit_general(points, law, DELTA, weights, start)
    assert ended.all()
    for i in range(0, 70, 14):
        alone = solve_general(replace(points, weights=weights[i]), law, DELTA)
        log_loss, _ = law.evaluate(points, free[i : i + 1])
        cost = replace(points, weights=weights[i]).cost(log_loss - points.y, DELTA)[0]
        assert cost == pytest.approx(alone.objective, rel=1e-9)


def test_a_weight_counts_as_that_many_rows():
    law, points = FORMS["bounded-rational"], sample("bounded-rational", 30, 0.004, 9)
    twice = np.concatenate([np.arange(30), np.arange(10)])
    columns = {k: getattr(points, k)[twice] for k in ("x", "z", "y", "slack", "extra")}
    doubled = replace(points, weights=np.ones(40), **columns)
    weighted = replace(points, weights=np.where(np.arange(30) < 10, 2.0, 1.0))
    one, other = (solve_general(p, law, DELTA) for p in (doubled, weighted))
    assert one.objective == pytest.approx(other.objective, rel=1e-9)
    assert one.theta == pytest.approx(other.theta, rel=1e-5)


def test_a_censored_run_pulls_only_a_law_that_lies_above_it():
    law, points = FORMS["coupled"], sample("coupled", 60, 0.0, 11)
    loose = points.y.copy()
    loose[::6] += 0.1
    slack = np.where(np.arange(60) % 6 == 0, 0.0, 1.0)
    censored = solve_general(replace(points, y=loose, slack=slack), law, DELTA)
    assert censored.objective < 1e-20
    tight = points.y.copy()
    tight[::6] -= 0.1
    assert solve_general(replace(points, y=tight, slack=slack), law, DELTA).objective > 1e-4


def test_under_tuned_runs_lift_the_law_less_when_slack():
    law, points = FORMS["kaplan-floor"], sample("kaplan-floor", 60, 0.002, 13)
    high = points.y.copy()
    high[::4] += 0.03
    plain = solve_general(replace(points, y=high), law, np.inf)
    slack = solve_general(replace(points, y=high, slack=np.full(60, 0.2)), law, np.inf)
    there = points.params, points.tokens
    truth = np.exp(points.y)
    lift = [law.predict(s.theta, *there).mean() - truth.mean() for s in (plain, slack)]
    assert 0 < lift[1] < 0.6 * lift[0]


def test_an_end_cut_short_is_not_called_converged(monkeypatch):
    monkeypatch.setattr(general, "APPROACH", ((1, 4, 0.1),))
    monkeypatch.setattr(general, "FINISH", 1)
    monkeypatch.setattr(general, "LONGEST", 1)
    assert not solve_general(sample("farseer", 60, 0.005, 3), FORMS["farseer"], DELTA).converged


def test_fewer_rows_than_parameters_still_end_somewhere():
    solution = solve_general(sample("coupled", 5, 0.004, 1), FORMS["coupled"], np.inf)
    assert solution.objective < 1e-6
    assert np.isfinite(solution.theta).all()
