from __future__ import annotations

import numpy as np
import pytest

from planner.plan.next_experiment import remaining_variance


def test_update_is_the_gaussian_conditional():
    rng = np.random.default_rng(0)
    cause = rng.standard_normal((200_000, 2))
    target = 2 * cause[:, 0] + cause[:, 1]
    left = remaining_variance(target, cause[:, :1], np.array([1.0]))
    assert left == pytest.approx(4 * 0.5 + 1, rel=0.02)
    assert remaining_variance(target, cause, np.full(2, 1e-9)) == pytest.approx(0.0, abs=1e-3)
    assert remaining_variance(target, cause, np.full(2, 1e9)) == pytest.approx(5.0, rel=0.02)
