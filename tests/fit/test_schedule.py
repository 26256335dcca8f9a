"""Schedule laws on planted curves: unseen schedules are predicted, doubts are said."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from planner.errors import EvidenceError, UsageError
from planner.fit.schedule import (
    Cooldown,
    Path,
    best_schedule,
    corrected,
    fit_group,
    fit_schedule,
    schedule_json,
    schedule_lines,
    trace_of,
    traces_of_table,
)
from planner.fit.schedule.laws import LAWS, TISSUE, evaluate
from planner.fit.schedule.path import Seen
from tests.fit.schedule_world import PEAK, STEPS, WARMUP, curve, losses, rates

SHAPE = np.log([0.02])


def path_of(kind, end=STEPS):
    at = np.linspace(WARMUP, end, 401)
    return Path.recorded(at, rates(kind, at, end))


@pytest.fixture(scope="module")
def fit():
    return fit_schedule([trace_of(curve(TISSUE, SHAPE, k)) for k in ("constant", "cosine", "drop")])


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_slopes_are_those_of_the_loss(law):
    shape = law.box.mean(axis=0)
    theta = np.array([0.8, np.log(0.15), 0.5, 1.2, np.log(0.1), *shape])
    path = path_of("wsd").scaled(STEPS, PEAK)
    seen = Seen.of(path, np.linspace(0.1, 1.0, 9))
    slopes = evaluate(law, theta, seen)[1]
    for i in range(len(theta)):
        step = np.zeros(len(theta))
        step[i] = 1e-6
        apart = evaluate(law, theta + step, seen)[0] - evaluate(law, theta - step, seen)[0]
        np.testing.assert_allclose(slopes[:, i], apart / 2e-6, rtol=2e-5, atol=1e-8)


@pytest.mark.parametrize("kind", ["wsd", "linear"])
def test_an_unseen_schedule_is_predicted_at_twice_the_horizon(fit, kind):
    path = path_of(kind, 2 * STEPS)
    at = np.linspace(4 * WARMUP, 2 * STEPS, 50)
    truth = losses(TISSUE, SHAPE, path, at)
    told = fit.predict(path, at)
    assert np.abs(told.loss / truth - 1).max() < 0.004
    assert ((told.low <= truth) & (truth <= told.high)).mean() > 0.8
    assert (told.high / told.low - 1).max() < 0.03


def test_members_say_what_they_are_worth(fit):
    assert sum(member.weight for member in fit.members) == pytest.approx(1.0)
    assert all(member.solved.status for member in fit.members)
    tissue = next(m for m in fit.members if m.form.name == "tissue")
    assert tissue.solved.status == "converged"
    assert np.exp(tissue.solved.theta[5]) == pytest.approx(0.02, rel=0.25)
    low, high = np.quantile(tissue.draws[:, 0], [0.05, 0.95])
    assert low < tissue.solved.theta[0] < high


def test_a_loss_is_carried_to_another_schedule(fit):
    paths = [path_of(kind) for kind in ("cosine", "wsd")]
    ends = [float(losses(TISSUE, SHAPE, path, np.array([STEPS]))[0]) for path in paths]
    carried = corrected(fit, ends[0], *paths)
    assert carried.contains(ends[1])
    assert abs(carried.value - ends[1]) < abs(ends[0] - ends[1]) / 4
    same = corrected(fit, ends[0], paths[0], paths[0])
    assert same.low == same.high == ends[0]


def test_a_poor_default_is_left_and_a_like_one_is_a_tie(fit):
    poor = best_schedule(fit, STEPS, Cooldown(0.02, 1.0, 0.5))
    assert not poor.tie
    assert poor.gain.low > 0
    assert poor.recommended.final_ratio == 0.0
    again = best_schedule(fit, STEPS, poor.recommended)
    assert again.tie
    assert again.recommended == poor.recommended
    assert again.reason.startswith("A tie")
    assert poor.fraction.low <= poor.recommended.fraction <= poor.fraction.high


def test_the_cooldown_of_the_planted_law_is_found(fit):
    grid = [Cooldown(f, 0.5, 0.0) for f in (0.05, 0.1, 0.2, 0.3, 0.5, 1.0)]
    paths = [c.path(STEPS, PEAK, 0.5 * WARMUP * PEAK) for c in grid]
    truth = [float(losses(TISSUE, SHAPE, path, np.array([STEPS]))[0]) for path in paths]
    found = best_schedule(fit, STEPS, grid[int(np.argmin(truth))])
    assert found.tie
    assert found.gain.value < 0.01


def test_a_horizon_far_beyond_the_curves_is_not_judged(fit):
    far = best_schedule(fit, 100 * STEPS)
    assert far.time == pytest.approx(3 * fit.span)
    assert "not checked" in far.reason


def test_curves_that_never_decay_tell_no_law_of_the_schedule():
    flat = curve(TISSUE, SHAPE, "constant")
    with pytest.raises(EvidenceError, match="branch one or two cooldowns"):
        fit_schedule([trace_of(flat)])
    none, found = fit_group(traces_of_table([flat], None))
    assert none is None
    assert found[0].code == "schedule-not-identified"


def test_one_schedule_alone_is_said_not_to_identify_the_law():
    longer = replace(curve(TISSUE, SHAPE, "cosine", seed=1), run="again")
    fit, found = fit_group(traces_of_table([curve(TISSUE, SHAPE, "cosine"), longer], None))
    assert [finding.code for finding in found] == ["schedule-not-identified"]
    assert [member.form.name for member in fit.members] == ["tissue"]
    assert fit.members[0].held_out is None


def test_the_entry_of_fit_json_is_plain_and_says_how_far_it_holds(fit):
    entry = json.loads(json.dumps(schedule_json(fit), allow_nan=False))
    assert "only the exponents transfer" in entry["holds"]
    assert {"E", "A", "alpha", "w", "B", "tau"} <= entry["members"][0]["params"].keys()
    assert entry["best"]["gain"]["level"] == 0.9
    assert any("held-out error" in line for line in schedule_lines(fit))


@pytest.mark.parametrize(
    ("at", "lr"),
    [([0.0], [1.0]), ([0.0, 1.0, 1.0], [1.0, 1.0, 0.5]), ([0.0, 1.0], [1.0, np.nan])],
)
def test_a_schedule_that_is_none_is_refused(at, lr):
    with pytest.raises(UsageError, match="schedule"):
        Path.recorded(np.array(at), np.array(lr))
