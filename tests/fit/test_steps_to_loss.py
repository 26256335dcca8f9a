"""Planted runs that progress by tokens / (1 + B / B_crit): curves tell the critical batch."""

from __future__ import annotations

import numpy as np
import pytest

from planner.curve import Curve
from planner.errors import EvidenceError
from planner.fit.critical_batch import HYPERBOLA, fit_hyperbola
from planner.fit.steps_to_loss import Swept, steps_to_loss

TOKENS, B_CRIT, BEST = 2e6, 1_500.0, 0.01
BATCHES = (128, 512, 2048, 8192)


def swept(batch, lr=BEST, *, noise=0.0, cooldown=True, seed=0, points=100):
    """A run that learns best at BEST, logged a hundred times; its cooldown gains .3 nats."""
    at = np.linspace(TOKENS / points, TOKENS, points)
    pace = np.exp(-0.1 * np.log(lr / BEST) ** 2) / (1 + batch / B_CRIT)
    behind = np.clip((at / TOKENS - 0.8) / 0.2, 0.0, 1.0) * cooldown
    loss = 1.5 + 40 * (at * pace) ** -0.3 - 0.3 * behind
    rng = np.random.default_rng([seed, batch, round(1e4 * lr)])
    loss *= np.exp(noise * rng.standard_normal(points))
    nothing = np.full(points, np.nan)
    name = f"{batch} {lr:g}"
    curve = Curve(name, at, nothing, lr * (1 - np.sqrt(behind)), loss)
    return Swept(3e4, batch, TOKENS, curve)


def critical(runs):
    return fit_hyperbola(steps_to_loss(runs).curve)


def grid(**options):
    lrs = (BEST / 4, BEST, BEST * 4)
    return [swept(batch, lr, **options) for batch in BATCHES for lr in lrs]


def test_the_planted_critical_batch_comes_back_from_steady_curves_alone():
    found = critical(grid())
    assert found.b_crit == pytest.approx(B_CRIT, rel=0.05)
    assert found.bounded == (True, True)
    assert critical(grid(cooldown=False)).b_crit == pytest.approx(B_CRIT, rel=0.05)


def test_noise_of_single_points_is_averaged_out():
    held = [
        critical(grid(noise=0.02, seed=s)).critical(HYPERBOLA).contains(B_CRIT) for s in range(20)
    ]
    assert sum(held) >= 17


def test_a_learning_rate_between_two_tried_is_found_by_a_parabola():
    off = [swept(b, lr) for b in BATCHES for lr in (BEST / 8, BEST / 2, BEST * 2)]
    best = steps_to_loss([swept(b) for b in BATCHES]).curve
    found = steps_to_loss(off).curve
    assert found.steps[:3] / best.steps[:3] == pytest.approx(np.full(3, 1.0), rel=0.1)


def test_steps_stand_for_tokens_that_were_not_logged():
    def by_step(run):
        c = run.curve
        return Swept(3e4, run.batch_tokens, TOKENS,
                     Curve(c.run, c.step, c.tokens / run.batch_tokens, c.lr, c.loss))  # fmt: skip

    told, same = (steps_to_loss(runs).curve for runs in (grid(), [by_step(r) for r in grid()]))
    assert told.steps == pytest.approx(same.steps)


@pytest.mark.parametrize(
    ("runs", "says"),
    [
        ([swept(128), swept(512)], "come at 2 batch sizes, 3 are needed"),
        ([swept(b, points=12) for b in BATCHES], "come at 0 batch sizes"),
    ],
)
def test_too_little_gets_its_reason(runs, says):
    with pytest.raises(EvidenceError, match=says):
        steps_to_loss(runs)


def test_curves_without_a_learning_rate_are_not_read():
    def silent(run):
        c = run.curve
        return Swept(3e4, run.batch_tokens, TOKENS,
                     Curve(c.run, c.tokens, c.step, c.step, c.loss))  # fmt: skip

    with pytest.raises(EvidenceError, match="steady learning rate come at 0"):
        steps_to_loss([silent(swept(b)) for b in BATCHES])


def test_equal_paces_leave_the_critical_batch_unbounded_above():
    """Far below the critical batch steps fall in proportion: only a lower bound is learnt."""
    runs = [swept(batch, noise=0.01) for batch in (8, 16, 32)]
    assert critical(runs).bounded[1] is False
