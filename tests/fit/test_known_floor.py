"""A floor that is known (smoothed labels) holds in the laws, and in what they predict."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from planner.fit.engine import fit_loss
from planner.fit.forms import FORMS
from planner.fit.laws import CHINCHILLA
from planner.observations import Observations
from tests.fit.planted_forms import sample

FLOOR = 0.0943
TRUTH = np.array([0.1, 10.6, 1160.0, 0.61, 1.08, 16.5, 1e3])


def digits(n=30, noise=0.1, seed=0, least=FLOOR) -> Observations:
    """Return short, noisy runs of a small classifier that hardly tell its floor."""
    rng = np.random.default_rng(seed)
    params, tokens = (np.exp(rng.uniform(*np.log(e), n)) for e in ((1e3, 2e4), (8e3, 6e4)))
    unique = np.where(rng.random(n) < 0.5, 325.0, 1300.0)
    loss = FORMS["data-constrained"].predict(TRUTH, params, tokens, unique)
    loss = loss * np.exp(noise * rng.standard_normal(n))
    names = tuple(f"run-{i}" for i in range(n))
    return Observations(
        params, tokens, 6 * params * tokens, loss, *np.full((3, n), np.nan), names, names,
        flops_convention="counted", unique_tokens=unique, least_loss=least,
    )  # fmt: skip


@pytest.mark.parametrize("law", [CHINCHILLA, FORMS["data-constrained"]], ids=lambda law: law.name)
def test_no_law_falls_below_a_known_floor_unless_a_run_did(law):
    points = sample(law.name if law.extra else "bounded-rational", 30, 0.01, 0)
    free = law.box(points)[0][0]
    known = law.box(replace(points, least=0.5))
    assert free < np.log(0.5) == pytest.approx(known[0][0])
    assert law.box(replace(points, least=1e3))[0][0] == free


def test_a_fit_of_noisy_runs_stays_above_the_floor():
    known, free = (fit_loss(digits(least=least)) for least in (FLOOR, 0.0))
    assert known.draws[:, 0].min() > 0.999 * FLOOR
    assert np.quantile(free.draws[:, 0], 0.05) < FLOOR
