"""One basin: the parabola, the interval's coverage, edges, divergence."""

import tracemalloc

import numpy as np
import pytest

from planner.fit.optimum import Basin, Points, locate, parabola
from planner.fit.priors import Normal

CURVATURE = (Normal(np.log(0.03), 0.6), Normal(np.log(0.04), 0.7))
STEP = np.log(2)


def planted(truth, x, *, k=(0.03, 0.04), noise=0.0, seed=0):
    u = x - truth
    rise = np.where(u < 0, k[0], k[1]) * u**2
    return 1.7 + rise + noise * np.random.default_rng(seed).normal(size=len(x))


def points(x, loss, sd=0.004, df=8.0) -> Points:
    return Points(x, loss, np.full(len(x), sd), df)


def grid(n: int, centre: float = -4.0) -> np.ndarray:
    return centre + STEP * (np.arange(n) - n // 2)


def test_parabola_is_exact_on_a_parabola_and_clipped_elsewhere() -> None:
    x = grid(5)
    assert parabola(x, 1 + 0.02 * (x + 3.8) ** 2) == pytest.approx(-3.8)
    assert parabola(x, x) == x[0]
    assert parabola(np.repeat(x, 2), np.repeat((x + 4.1) ** 2, 2)) == pytest.approx(-4.1)
    assert x[1] <= parabola(x, np.array([5.0, 1.0, 1.0, 1.0, 5.0])) <= x[2]


def test_value_and_floor_are_recovered_without_noise() -> None:
    x = grid(5)
    basin, _ = locate(points(x, planted(-4.2, x), sd=1e-3), CURVATURE, tolerance=0.002)
    assert basin.x == pytest.approx(-4.2, abs=0.05)
    assert basin.floor == pytest.approx(1.7, abs=0.001)
    assert basin.interior
    assert basin.low < basin.x < basin.high
    assert basin.flat[0] < basin.x < basin.flat[1]


def test_coverage_of_the_interval_over_planted_basins() -> None:
    """90 % nominal; with 150 basins a right interval falls outside 83-97 % once in 200 seeds."""
    rng = np.random.default_rng(1)
    hits = 0
    for seed in range(150):
        k = (0.03 * np.exp(0.6 * rng.normal()), 0.04 * np.exp(0.7 * rng.normal()))
        truth, noise = rng.uniform(-4.4, -3.6), 0.005
        x = grid(int(rng.integers(4, 7)))
        loss = planted(truth, x, k=k, noise=noise, seed=seed)
        basin, _ = locate(points(x, loss, sd=noise), CURVATURE, tolerance=0.01)
        hits += basin.low <= truth <= basin.high
    assert 0.83 <= hits / 150 <= 0.97


@pytest.mark.parametrize(("truth", "side"), [(-7.0, "low"), (-1.0, "high")])
def test_a_minimum_outside_the_grid_is_a_one_sided_bound(truth: float, side: str) -> None:
    x = grid(4)
    basin, _ = locate(points(x, planted(truth, x)), CURVATURE, tolerance=0.008)
    assert basin.interior_low == (side == "high")
    assert basin.interior_high == (side == "low")
    reached = basin.low < x[0] if side == "low" else basin.high > x[-1]
    assert reached


def test_diverged_runs_close_the_high_side() -> None:
    x = grid(4)
    loss = planted(-3.5, x)
    opened, _ = locate(points(x[:-1], loss[:-1]), CURVATURE, tolerance=0.008)
    closed, _ = locate(points(x, np.append(loss[:-1], np.nan)), CURVATURE, tolerance=0.008)
    assert closed.high < opened.high
    assert not opened.interior_high


def test_more_noise_widens() -> None:
    x = grid(5)
    loss = planted(-4.1, x, noise=0.003)

    def width(sd: float) -> float:
        basin, _ = locate(points(x, loss, sd), CURVATURE, tolerance=0.01)
        return basin.high - basin.low

    assert width(0.01) > 1.3 * width(0.003)


def test_replicates_count_and_json_round_trips() -> None:
    x = np.repeat(grid(4), 3)
    basin, _ = locate(points(x, planted(-4.0, x, noise=0.004)), CURVATURE, tolerance=0.008)
    assert basin.x == pytest.approx(-4.0, abs=0.25)
    assert Basin.from_json(basin.to_json()) == basin


def replicated(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return x and loss of a basin with n seeds a place, and n diverged ones above it."""
    x = np.repeat(grid(5), n)
    loss = planted(-4.1, x, noise=0.004)
    return np.append(x, np.repeat(-1.0, n)), np.append(loss, np.full(n, np.nan))


def test_replicates_say_together_what_each_of_them_says() -> None:
    """Moved apart by a billionth none is pooled with another."""
    x, loss = replicated(6)
    apart = x + 1e-9 * np.arange(len(x))
    for last in (len(x), -6):
        pooled, dense = locate(points(x[:last], loss[:last]), CURVATURE, tolerance=0.008)
        single, same = locate(points(apart[:last], loss[:last]), CURVATURE, tolerance=0.008)
        assert dense.probability == pytest.approx(same.probability, abs=1e-7)
        assert pooled.floor == pytest.approx(single.floor, abs=1e-7)
        assert pooled.floor_sd == pytest.approx(single.floor_sd, rel=1e-6)
        assert pooled.log_k_low.mean == pytest.approx(single.log_k_low.mean, abs=1e-6)


def test_thousands_of_replicates_take_no_more_memory_than_a_few() -> None:
    peaks = []
    for n in (3, 3000):
        x, loss = replicated(n)
        tracemalloc.start()
        basin, _ = locate(points(x, loss), CURVATURE, tolerance=0.008)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
    assert basin.x == pytest.approx(-4.1, abs=0.05)


def test_one_setting_is_no_basin() -> None:
    with pytest.raises(ValueError, match="two different settings"):
        locate(points(np.zeros(3), np.ones(3)), CURVATURE, tolerance=0.01)
