"""The range test brackets: edge and steepest rate found within a factor, whatever the noise."""

import numpy as np
import pytest

from planner.errors import EvidenceError
from planner.fit.finder import range_test

STEEP, EDGE = 0.004, 0.3


def curve(seed: int, noise: float = 0.05, points: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Loss 5.5, falling fastest per ln lr at STEEP to 2.5, rising without bound beyond EDGE."""
    lr = np.geomspace(1e-6, 3, points)
    fall = 3 / (1 + (lr / STEEP) ** -1.5)
    blow = 4 * np.maximum(np.log(lr / EDGE), 0)
    return lr, 5.5 - fall + blow + noise * np.random.default_rng(seed).normal(size=points)


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.15])
@pytest.mark.parametrize("points", [150, 300, 1000])
def test_steepest_rate_and_edge_are_found_in_noise(noise: float, points: int) -> None:
    tests = [range_test(*curve(seed, noise, points)) for seed in range(3)]
    assert all(found.diverged for found in tests)
    assert STEEP / 3 < np.median([found.lr_steep for found in tests]) < STEEP * 3
    assert EDGE / 1.5 < np.median([found.lr_div for found in tests]) < EDGE * 2.5
    for found in tests:
        assert found.low == pytest.approx(found.lr_steep / 8)
        assert found.high == pytest.approx(min(found.lr_div / 2, 8 * found.lr_steep))


def test_a_test_that_ends_in_nan_diverges_there() -> None:
    lr, loss = curve(0)
    loss[200:] = np.nan
    found = range_test(lr, loss)
    assert found.diverged
    assert found.lr_div == lr[200]


def test_without_divergence_the_last_rate_bounds_the_bracket() -> None:
    lr, loss = curve(0)
    found = range_test(lr[:220], loss[:220])
    assert not found.diverged
    assert found.lr_div == lr[219]
    assert found.high <= lr[219]


def test_points_are_read_in_order_of_tokens() -> None:
    lr, loss = curve(1)
    shuffled = np.random.default_rng(2).permutation(len(lr))
    tokens = np.arange(len(lr), dtype=float)
    assert range_test(lr[shuffled], loss[shuffled], tokens[shuffled]) == range_test(lr, loss)


def test_too_short_or_never_falling_is_refused() -> None:
    lr, loss = curve(0)
    with pytest.raises(EvidenceError, match="20 finite losses"):
        range_test(lr[:20], loss[:20])
    with pytest.raises(EvidenceError, match="never falls"):
        range_test(lr, np.linspace(5, 6, len(lr)))
