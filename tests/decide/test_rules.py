from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.decide.rules import beta2_rule, cautious_lr, snap_batch, snap_lr, weight_decay_rule
from planner.estimate import Estimate
from planner.shape import Size


def test_weight_decay_averages_over_the_published_share_of_the_run():
    size = Size(1e9, 1e9, 1e9, 6e9)
    decay = weight_decay_rule(size, 2e10, 500_000, 1e-3)
    tau = 500_000 / (1e-3 * decay * 2e10)
    assert tau == pytest.approx(0.22, abs=0.005)


@pytest.mark.parametrize(
    ("batch", "tokens", "beta2"),
    [
        (1_000_000, 1e11, 0.933),
        (500_000, 1e11, 0.966),
        (65_536, 1e11, 0.9955),
        (16, 1e12, 0.9999),
        (8_000_000, 1e12, 0.9),
        (512, 1e6, 2 ** (-512 / 5e4)),
    ],
)
def test_beta2_has_a_half_life_in_tokens(batch, tokens, beta2):
    assert beta2_rule(batch, tokens) == pytest.approx(beta2, abs=5e-4)


def test_lr_goes_to_the_low_side_but_never_far():
    sd = 0.2
    narrow = Estimate(1e-3, 1e-3 * np.exp(-1.645 * sd), 1e-3 * np.exp(1.645 * sd))
    assert cautious_lr(narrow) == pytest.approx(1e-3 * np.exp(-0.05), rel=1e-3)
    assert cautious_lr(Estimate(1e-3, 1e-5, 1e-1)) == pytest.approx(1e-3 / 1.3)


@given(st.floats(1e-6, 1.0), st.floats(1.0, 1e8))
def test_snapping_is_near_and_stays_put(lr, batch):
    snapped = snap_lr(lr)
    assert abs(np.log2(snapped / lr)) <= 0.1251
    assert snap_lr(snapped * (1 + 1e-12)) == snapped
    whole = snap_batch(batch, 128)
    assert whole >= 128
    assert snap_batch(whole, 128) == whole
    assert batch < 128 or 0.7 < whole / batch < 1.42
