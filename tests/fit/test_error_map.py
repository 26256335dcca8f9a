from __future__ import annotations

import numpy as np
import pytest

from planner.errors import EvidenceError, UsageError
from planner.fit.error_map import ErrorMap, fit_error_map

LOSS = np.linspace(0.5, 2.2, 15)


def exponential(loss):
    return 0.9 - 0.84 * np.exp(-0.8 * np.asarray(loss))


def step(loss):
    return 0.1 + 0.7 / (1.0 + np.exp(-6.0 * (np.asarray(loss) - 1.5)))


@pytest.fixture(scope="module")
def noisy() -> ErrorMap:
    noise = 0.005 * np.random.default_rng(0).standard_normal(len(LOSS))
    return fit_error_map(LOSS, exponential(LOSS) + noise)


def test_a_planted_exponential_comes_back_whole():
    found = fit_error_map(LOSS, exponential(LOSS))
    assert list(found.params.values()) == pytest.approx([0.9, 0.84, 0.8], rel=1e-6)
    assert found.between is None


def test_intervals_cover_beyond_the_classifiers_seen():
    inside = []
    for seed in range(12):
        noise = 0.01 * np.random.default_rng(seed).standard_normal(len(LOSS))
        found = fit_error_map(LOSS, exponential(LOSS) + noise, seed=seed)
        inside.append(found.predict(np.array([[0.35]]))[0].contains(float(exponential(0.35))))
    assert sum(inside) >= 9


def test_an_interval_of_cross_entropy_becomes_one_of_error(noisy):
    rng = np.random.default_rng(1)
    sharp, vague = (
        noisy.predict(0.8 * np.exp(sd * rng.standard_normal((1000, 1))))[0] for sd in (0.0, 0.1)
    )
    assert vague.high - vague.low > 3 * (sharp.high - sharp.low)
    slope = 0.84 * 0.8 * np.exp(-0.8 * 0.8)
    assert vague.high - vague.low == pytest.approx(2 * 1.645 * 0.08 * slope, rel=0.15)
    assert vague.contains(float(exponential(0.8)))


def test_the_map_rises_everywhere_and_stays_within_0_and_1(noisy):
    wide = np.geomspace(1e-3, 50.0, 300)
    bent = fit_error_map(LOSS, step(LOSS))
    for found in (noisy, bent):
        error = found.error(wide)
        assert (np.diff(error) >= -1e-12).all()
        assert error.min() >= 0
        assert error.max() <= 1


def test_another_shape_is_followed_between_the_classifiers_seen():
    loss = np.linspace(0.5, 2.5, 40)
    noise = 0.01 * np.random.default_rng(3).standard_normal(len(loss))
    found = fit_error_map(loss, step(loss) + noise)
    assert found.between is not None
    assert "times as wrong" in found.why
    at = np.array([0.8, 1.2, 1.5, 2.0])
    assert found.error(at) == pytest.approx(step(at), abs=0.03)
    assert [e.method.split(", ")[1] for e in found.predict(np.array([[0.3, 1.0]]))] == [
        "beyond the classifiers seen",
        "among the classifiers seen",
    ]


def test_order_does_not_matter_and_bits_only_rescale_gamma():
    noise = 0.005 * np.random.default_rng(4).standard_normal(len(LOSS))
    error, order = exponential(LOSS) + noise, np.random.default_rng(5).permutation(len(LOSS))
    plain = fit_error_map(LOSS, error)
    bits = fit_error_map((LOSS / np.log(2))[order], error[order])
    assert bits.error(np.array([0.3]) / np.log(2)) == pytest.approx(
        plain.error(np.array([0.3])), rel=1e-6
    )


@pytest.mark.parametrize(
    ("loss", "error", "match"),
    [
        (LOSS, 100 * exponential(LOSS), "divide per cent by 100"),
        (LOSS, exponential(LOSS) - 0.6, "between 0 and 1"),
        (LOSS, np.full(15, np.nan), "between 0 and 1"),
        (-LOSS, exponential(LOSS), "positive and finite"),
        (LOSS, exponential(LOSS)[:4], "one length"),
    ],
)
def test_what_are_no_error_rates_is_refused(loss, error, match):
    with pytest.raises(UsageError, match=match):
        fit_error_map(loss, error)


@pytest.mark.parametrize(
    ("loss", "error", "match"),
    [
        (LOSS[:3], exponential(LOSS[:3]), "3 classifiers with different"),
        (LOSS, 1 - exponential(LOSS), "are these accuracies"),
        (LOSS, np.full(15, 0.3), "do not rise"),
        (LOSS, 0.5 + 0.1 * np.sin(40 * LOSS), "do not rise"),
    ],
)
def test_too_little_evidence_ends_with_a_sentence(loss, error, match):
    with pytest.raises(EvidenceError, match=match):
        fit_error_map(loss, error)


def test_ties_share_their_rank_and_a_falling_curve_is_refused():
    with pytest.raises(EvidenceError, match=r"rank correlation -0\.53"):
        fit_error_map(np.array([0.5, 0.7, 0.9, 1.1, 1.1]), np.array([0.5, 0.3, 0.3, 0.1, 0.4]))
