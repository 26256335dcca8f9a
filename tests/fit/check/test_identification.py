"""What the data leave open, and what they could never show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from planner.finding import Severity
from planner.fit.check import check_fit
from planner.fit.check.identification import influence
from planner.fit.check.linear import Linear
from planner.fit.laws import CHINCHILLA, optimal_params
from planner.fit.points import Points
from planner.fit.solve import solve
from tests.fit.check.codes import codes, one
from tests.fit.clean_worlds import clean_world

WORLD = clean_world(2)
DATA, TRUTH = WORLD.data, WORLD.truth
DRAWS = np.tile(TRUTH, (10, 1))


def test_an_unidentified_law_is_told():
    found = check_fit(DATA, TRUTH, "at bound: E", 0.005, DRAWS)
    assert "at bound: E" in one(found, "not-identified").what


def test_a_ridge_of_e_against_alpha():
    alpha = np.linspace(0.2, 0.6, 100)
    ridge = np.tile(TRUTH, (100, 1))
    ridge[:, 3], ridge[:, 0] = alpha, 1.5 + 0.4 * np.log(alpha)
    assert "ridge" in codes(check_fit(DATA, TRUTH, "converged", 0.005, ridge))
    assert "ridge" not in codes(check_fit(DATA, TRUTH, "converged", 0.005, DRAWS))


def test_influence_is_the_derivative_of_the_fit():
    clean = replace(DATA, loss=CHINCHILLA.predict(TRUTH, DATA.params, DATA.tokens))
    linear = Linear.of(clean, CHINCHILLA, TRUTH)
    h = influence(CHINCHILLA, TRUTH, linear, 1e23)
    nudge = 1e-5 * np.random.default_rng(0).standard_normal(len(DATA))
    points = Points.of(DATA.params, DATA.tokens, clean.loss * np.exp(nudge))
    moved = solve(points, CHINCHILLA, np.inf).theta
    change = np.log(optimal_params(moved, 1e23) / optimal_params(TRUTH, 1e23))
    np.testing.assert_allclose(change, h @ nudge, rtol=0.01)


def test_tables_without_recipe_columns_say_what_cannot_be_seen():
    bare = replace(DATA, lr=np.full(len(DATA), np.nan))
    finding = one(check_fit(bare, TRUTH, "converged", 0.005, DRAWS), "blind-spots")
    assert finding.severity is Severity.INFO
    assert "lr" in finding.remedy
    told = {f.code for f in check_fit(DATA, TRUTH, "converged", 0.005, DRAWS)}
    assert "blind-spots" not in told
