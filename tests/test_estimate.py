"""An estimate keeps its value inside its interval."""

from __future__ import annotations

import numpy as np
import pytest

from planner.estimate import Estimate


def test_from_draws_takes_the_central_interval():
    draws = np.linspace(0, 1, 1001)
    estimate = Estimate.from_draws(draws, level=0.9, method="test")
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.5, 0.05, 0.95))


def test_a_value_outside_the_draws_stretches_the_interval():
    estimate = Estimate.from_draws(np.ones(10), method="test", value=2.0)
    assert (estimate.low, estimate.high) == (1.0, 2.0)


def test_an_interval_that_misses_its_value_is_refused():
    with pytest.raises(ValueError, match="misses"):
        Estimate(3.0, 1.0, 2.0)


def test_scaling_changes_the_unit_only():
    assert Estimate(2.0, 1.0, 4.0).scaled(10) == Estimate(20.0, 10.0, 40.0)
