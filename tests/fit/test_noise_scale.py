"""Gradient noise scale: planted gradients, false alarms, correlated steps, the second witness."""

import numpy as np
import pytest

from planner.estimate import Estimate
from planner.fit.noise_scale import GradientNorms, memory, noise_scale, noise_scale_against

SEQUENCE = 128


def planted(
    seed: int, *, signal: float = 1.0, steps: int = 200, rho: float = 0.0, trace: float = 200.0
) -> GradientNorms:
    """Squared norms of means over 4 and 64 examples (nested), scaled by an AR(1) series."""
    rng, width, small, big = np.random.default_rng(seed), 50, 4, 64
    wave = np.zeros(steps)
    for step, shock in enumerate(rng.standard_normal(steps)):
        wave[step] = rho * wave[step - 1] + np.sqrt(1 - rho**2) * shock
    loud = np.exp(0.3 * wave - 0.045)
    true = np.zeros(width)
    true[0] = np.sqrt(signal)
    part = [
        rng.standard_normal((steps, width)) * np.sqrt(trace / width / n)
        for n in (small, big - small)
    ]
    whole = (small * part[0] + (big - small) * part[1]) / big
    squares = [loud * ((true + noise) ** 2).sum(1) for noise in (part[0], whole)]
    return GradientNorms(*squares, small, big, SEQUENCE)


def test_both_parts_are_unbiased() -> None:
    norms = planted(0, steps=20_000)
    assert norms.signal.mean() == pytest.approx(1.0, rel=0.05)
    assert norms.noise.mean() == pytest.approx(200.0, rel=0.02)
    found = noise_scale(planted(0, steps=2000))
    assert found.tokens is not None
    assert found.tokens.value == pytest.approx(200 * SEQUENCE, rel=0.1)


@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_intervals_hold_the_planted_scale(rho: float) -> None:
    found = [noise_scale(planted(seed, rho=rho)) for seed in range(60)]
    held = [f.tokens is not None and f.tokens.contains(200 * SEQUENCE) for f in found]
    assert 0.8 <= np.mean(held) <= 0.99


def test_without_signal_nothing_is_identified_but_for_five_in_a_hundred() -> None:
    """The stated level: below 0 at the 5 % end; 12 of 60 would be far beyond chance."""
    found = [noise_scale(planted(seed, signal=0.0)) for seed in range(60)]
    assert sum(f.tokens is not None for f in found) <= 8
    said = next(f.finding for f in found if f.finding)
    assert said.code == "noise-scale-unidentified"
    assert said.remedy == "enlarge the big batch beyond 64 examples, or average more steps"


def test_correlated_steps_make_longer_blocks() -> None:
    rng = np.random.default_rng(0)
    shocks = rng.standard_normal(5000)
    wave = np.zeros(5000)
    for step, shock in enumerate(shocks):
        wave[step] = 0.8 * wave[step - 1] + shock
    assert memory(shocks) <= 2
    assert 6 <= memory(wave) <= 13  # (1 + rho) / (1 - rho) = 9
    assert memory(np.ones(100)) == 1


def test_the_answer_repeats_and_scales_with_the_sequence() -> None:
    norms = planted(1)
    found = noise_scale(norms)
    assert noise_scale(norms) == found
    longer = noise_scale(GradientNorms(norms.small_squared, norms.big_squared, 4, 64, 2 * SEQUENCE))
    assert longer.tokens is not None
    assert found.tokens is not None
    assert longer.tokens.value == pytest.approx(2 * found.tokens.value)


def test_too_few_steps_are_refused_with_the_number_needed() -> None:
    with pytest.raises(ValueError, match="measure at least"):
        noise_scale(planted(0, steps=5))
    with pytest.raises(ValueError, match="must be smaller"):
        GradientNorms(np.ones(9), np.ones(9), 64, 64, SEQUENCE)
    with pytest.raises(ValueError, match="finite"):
        GradientNorms(np.array([1.0, np.inf]), np.ones(2), 4, 64, SEQUENCE)
    with pytest.raises(ValueError, match="same steps"):
        GradientNorms(np.ones(3), np.ones(2), 4, 64, SEQUENCE)


def test_it_speaks_up_beside_the_batch_law_only_when_far_apart() -> None:
    found = noise_scale(planted(2, steps=500))
    assert found.tokens is not None
    value = found.tokens.value

    def batch(factor: float, spread: float) -> Estimate:
        return Estimate(value * factor, value * factor / spread, value * factor * spread)

    assert noise_scale_against(found, batch(0.5, 1.2)) is None
    assert noise_scale_against(found, batch(0.1, 20.0)) is None
    far = noise_scale_against(found, batch(0.1, 1.5))
    assert far is not None
    assert far.code == "noise-scale-disagrees"
    assert "above" in far.what
    silent = noise_scale(planted(0, signal=0.0))
    assert noise_scale_against(silent, batch(0.1, 1.5)) == silent.finding
