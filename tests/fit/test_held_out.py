from __future__ import annotations

import json

import numpy as np
import pytest

from planner.errors import UsageError
from planner.finding import Severity
from planner.fit.engine import fit_loss
from planner.fit.held_out import Prediction, judge, predict_held_out
from planner.fit.laws import CHINCHILLA, optimal_params
from tests.fit.planted import TRUTH, TRUTHS, ladder

SIGMA = 0.005


@pytest.fixture(scope="module")
def fit():
    return fit_loss(ladder(noise=SIGMA))


@pytest.fixture(scope="module")
def prediction(fit):
    return predict_held_out(fit, rungs_at(2 * fit.range.flops[1]), "abc")


def rungs_at(flops, truth=TRUTH):
    best = float(optimal_params(truth, flops))
    sizes = [2 * best, best, best / 2]
    return [({"width": i}, n, flops / (6 * n), flops) for i, n in enumerate(sizes)]


def measured(prediction, factor=1.0):
    params = np.array([rung.params for rung in prediction.rungs])
    tokens = np.array([rung.tokens for rung in prediction.rungs])
    return CHINCHILLA.predict(TRUTH, params, tokens) * factor


def test_rungs_are_ordered_by_size_and_carry_both_intervals(prediction):
    sizes = [rung.params for rung in prediction.rungs]
    assert sizes == sorted(sizes)
    assert prediction.rungs[0].shape == {"width": 2}
    for rung in prediction.rungs:
        assert rung.loss98.low < rung.loss.low < rung.loss.high < rung.loss98.high
    assert sum(prediction.p_win) == pytest.approx(1.0)
    assert prediction.winner == int(np.argmax(prediction.p_win))


def test_a_prediction_survives_its_file(prediction):
    assert Prediction.from_json(json.loads(json.dumps(prediction.to_json()))) == prediction


def test_a_right_law_passes(prediction):
    verdict = judge(prediction, measured(prediction), SIGMA)
    assert verdict.inside90
    assert verdict.winner_steps_off <= 1
    assert verdict.widen == 1.0
    assert verdict.finding is None


def test_outside_90_widens_until_the_worst_rung_lies_on_the_edge(fit, prediction):
    losses = [rung.loss.value for rung in prediction.rungs]
    worst = prediction.rungs[1]
    losses[1] = (worst.loss.high + worst.loss98.high) / 2
    verdict = judge(prediction, losses, SIGMA)
    assert verdict.finding.severity is Severity.WARNING
    assert verdict.inside98
    rungs = [(r.shape, r.params, r.tokens, r.flops) for r in prediction.rungs]
    wider = predict_held_out(fit.widened(verdict.widen), rungs, "abc")
    assert wider.rungs[1].loss.high == pytest.approx(losses[1], rel=1e-3)


def test_outside_98_is_blocking(prediction):
    verdict = judge(prediction, measured(prediction, 0.8), SIGMA)
    assert not verdict.inside98
    assert verdict.finding.severity is Severity.BLOCKING
    assert min(verdict.error_percent) > 15
    assert max(verdict.z) < -2.3


def test_a_winner_two_steps_off_is_blocking_unless_it_ties(fit):
    rungs = rungs_at(2 * fit.range.flops[1])
    prediction = predict_held_out(fit, rungs, "abc")
    base = prediction.rungs[1].loss.value
    at = {0: [1.0, 1.02, 1.04], 2: [1.04, 1.02, 1.0]}
    far = 2 if prediction.winner == 0 else 0
    steps = abs(far - prediction.winner)
    assert judge(prediction, [base * f for f in at[far]], SIGMA).winner_steps_off == steps
    tie = judge(prediction, [base * (1 + 1e-4 * i) for i in range(3)], SIGMA)
    assert tie.winner_steps_off == 0


def test_compute_equivalents_are_error_over_slope(prediction):
    verdict = judge(prediction, measured(prediction, 1.01), SIGMA)
    for rung, equivalent, percent in zip(
        prediction.rungs, verdict.compute_equivalent, verdict.error_percent, strict=True
    ):
        loss = rung.loss.value / (1 + percent / 100)
        assert equivalent == pytest.approx(abs(rung.loss.value - loss) / rung.slope)


def test_a_gain_larger_than_the_loss_leaves_a_loss(fit, prediction):
    rungs = rungs_at(2 * fit.range.flops[1])
    draws = len(fit.loss_draws(np.array([1e8]), np.array([1e9])))
    for regret, least in ((-10.0, 0.0), (0.3, prediction.rungs[0].loss.low + 0.29)):
        moved = predict_held_out(fit, rungs, "abc", np.full((draws, 3), regret))
        assert all(rung.loss98.low > 0 for rung in moved.rungs)
        assert moved.rungs[0].loss.low > least


def test_missing_or_infinite_losses_are_refused(prediction):
    with pytest.raises(UsageError, match="one finite loss"):
        judge(prediction, [1.0, 2.0], SIGMA)
    with pytest.raises(UsageError, match="one finite loss"):
        judge(prediction, [1.0, 2.0, float("nan")], SIGMA)
    with pytest.raises(UsageError, match="at least one size"):
        predict_held_out(fit_loss(ladder(noise=SIGMA)), [], "abc")


def test_right_laws_are_rarely_condemned():
    blocked = 0
    for case in range(12):
        truth = TRUTHS[case % len(TRUTHS)]
        found = fit_loss(ladder(truth, noise=SIGMA, seed=case), seed=case)
        written = predict_held_out(found, rungs_at(2 * found.range.flops[1], truth), "")
        params = np.array([r.params for r in written.rungs])
        tokens = np.array([r.tokens for r in written.rungs])
        noise = SIGMA * np.random.default_rng(case).standard_normal(3)
        losses = CHINCHILLA.predict(truth, params, tokens) * np.exp(noise)
        verdict = judge(written, losses, SIGMA)
        blocked += bool(verdict.finding and verdict.finding.severity is Severity.BLOCKING)
    assert blocked <= 1
