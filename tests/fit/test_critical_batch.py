"""Critical batch: planted hyperbolas and laws, what is bounded, and what the convention means."""

import numpy as np
import pytest

from planner.fit.critical_batch import (
    HYPERBOLA,
    ZHANG,
    Definition,
    StepsToLoss,
    fit_critical_batch,
    fit_hyperbola,
)

BATCHES = 2.0 ** np.arange(14, 24)


def curve(
    b_crit: float, *, tokens: float = 1e9, noise: float = 0.0, seed: int = 0, batches=BATCHES
) -> StepsToLoss:
    wobble = np.exp(noise * np.random.default_rng(seed).standard_normal(len(batches)))
    steps = 2000 * (1 + b_crit / batches) * wobble
    return StepsToLoss(tokens / 20, tokens, np.array(batches), steps)


def test_a_clean_hyperbola_is_returned_exactly() -> None:
    found = fit_hyperbola(curve(5e5))
    assert found.b_crit == pytest.approx(5e5, rel=1e-3)
    assert found.steps_min == pytest.approx(2000, rel=1e-3)
    assert found.bounded == (True, True)


def test_the_convention_says_what_it_says() -> None:
    """At B* the tokens are 20 % above those of the reference batch."""
    b_crit = 5e5
    critical = float(ZHANG.of(np.array(b_crit)))

    def tokens(batch: float) -> float:
        return batch * (1 + b_crit / batch)

    assert tokens(critical) == pytest.approx(1.2 * tokens(256 * 512))
    assert ZHANG.hyperbola(np.array(critical)) == pytest.approx(b_crit)
    assert HYPERBOLA.of(np.array(b_crit)) == b_crit


def test_intervals_hold_planted_critical_batches_as_often_as_they_say() -> None:
    held = [
        fit_hyperbola(curve(5e5, noise=0.05, seed=seed)).critical(HYPERBOLA).contains(5e5)
        for seed in range(200)
    ]
    assert 0.85 <= np.mean(held) <= 0.96


def test_draws_agree_with_the_interval() -> None:
    found = fit_hyperbola(curve(5e5, noise=0.05))
    said = found.critical(ZHANG)
    low, high = np.quantile(found.draws(ZHANG, 20_000), [0.05, 0.95])
    assert (low, high) == pytest.approx((said.low, said.high), rel=0.02)


def test_steps_that_only_fall_in_proportion_bound_it_from_below() -> None:
    found = fit_hyperbola(curve(1e9, noise=0.03))
    assert found.bounded == (True, False)
    flat = fit_hyperbola(curve(10.0, noise=0.03))
    assert flat.bounded == (False, True)


def planted(sizes: int, *, exponent: float = 0.5, noise: float = 0.04) -> list[StepsToLoss]:
    return [
        curve(4e5 * 4 ** (exponent * i), tokens=1e9 * 4**i, noise=noise, seed=i)
        for i in range(sizes)
    ]


def test_the_law_predicts_the_next_horizon() -> None:
    law = fit_critical_batch(planted(4))
    said = law.at(4**4 * 5e7, 4**4 * 1e9)
    assert said.contains(4e5 * 4**2)
    assert said.value == pytest.approx(4e5 * 4**2, rel=0.15)


def test_one_misread_curve_point_hardly_moves_the_law() -> None:
    curves = planted(4)
    curves[3].steps[2] *= 3.0
    said = fit_critical_batch(curves).at(4**4 * 5e7, 4**4 * 1e9)
    assert said.value == pytest.approx(4e5 * 4**2, rel=0.2)


def test_one_curve_leaves_the_slope_to_the_published_one() -> None:
    law = fit_critical_batch(planted(1, noise=0.0))
    here, there = law.at(5e7, 1e9), law.at(5e7, 1e11)
    assert here.value == pytest.approx(4e5, rel=0.05)
    assert np.log(there.value / here.value) == pytest.approx(0.462 * np.log(100), rel=0.05)
    assert np.log(there.high / there.low) > 2 * np.log(here.high / here.low)


def test_the_unit_of_tokens_does_not_matter() -> None:
    curves = planted(3)
    scaled = [StepsToLoss(c.params, c.tokens, c.batch_tokens * 1.37, c.steps) for c in curves]
    ratio = fit_hyperbola(scaled[0]).b_crit / fit_hyperbola(curves[0]).b_crit
    assert ratio == pytest.approx(1.37, rel=1e-3)
    wide = Definition(0.2, 1.37 * ZHANG.reference_batch_tokens)
    there = [
        fit_critical_batch(c, d).at(5e9, 1e11).value for c, d in ((scaled, wide), (curves, ZHANG))
    ]
    assert there[0] / there[1] == pytest.approx(1.37, rel=0.01)


def test_too_little_is_refused() -> None:
    with pytest.raises(ValueError, match="three different batches"):
        StepsToLoss(1e8, 2e9, np.array([1e5, 1e5, 2e5]), np.array([3.0, 3.0, 2.0]))
    with pytest.raises(ValueError, match="leave out failed runs"):
        StepsToLoss(1e8, 2e9, np.array([1e5, 2e5, 4e5]), np.array([3.0, np.nan, 2.0]))
    with pytest.raises(ValueError, match="one curve"):
        fit_critical_batch([])
