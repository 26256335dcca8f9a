"""How the runs were trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from planner.finding import Severity
from planner.fit.check import check_points
from tests.fit.check.codes import codes, one
from tests.fit.clean_worlds import clean_world

DATA = clean_world(0).data
SMALL = DATA.params == DATA.params.min()


def full(value):
    return np.full(len(DATA), value)


@pytest.mark.parametrize(
    ("spoilt", "code"),
    [
        (replace(DATA, schedule=np.where(SMALL, "linear", "cosine")), "mixed-schedules"),
        (replace(DATA, schedule=full("constant")), "undecayed"),
        (replace(DATA, final_lr_ratio=np.where(SMALL, 1.0, 0.1)), "undecayed"),
        (replace(DATA, schedule=full("wsd"), decay_ratio=full(0.0)), "undecayed"),
        (replace(DATA, warmup_tokens=full(0.5 * DATA.tokens.min())), "long-warmup"),
        (replace(DATA, lr=full(2e-3)), "lr-not-scaled"),
        (replace(DATA, lr=DATA.lr * np.where(SMALL, 10.0, 1.0)), "lr-off-trend"),
        (replace(DATA, unique_tokens=full(0.2 * DATA.tokens.max())), "repeated-tokens"),
        (replace(DATA, epochs=full(6.0)), "repeated-tokens"),
        (replace(DATA, batch_tokens=full(DATA.tokens.min() / 300)), "few-steps"),
    ],
)
def test_a_recipe_that_bends_the_law_is_named_with_its_cost(spoilt, code):
    finding = one(check_points(spoilt), code)
    assert finding.remedy
    assert finding.cost_flops > 0


def test_unknown_recipes_raise_nothing():
    unknown = {name: full(np.nan) for name in ("lr", "batch_tokens", "warmup_tokens")}
    assert codes(check_points(replace(DATA, **unknown, schedule=full("")))) == set()


def test_the_size_off_the_trend_is_the_one_named():
    spoilt = replace(DATA, lr=DATA.lr * np.where(SMALL, 10.0, 1.0))
    assert f"{DATA.params.min():.3g}" in one(check_points(spoilt), "lr-off-trend").what


def test_a_few_repeats_are_only_told():
    finding = one(check_points(replace(DATA, epochs=full(1.5))), "repeated-tokens")
    assert finding.severity is Severity.INFO
