from dataclasses import replace

import numpy as np
import pytest

from planner.errors import SpaceError
from planner.proxies._schedule import learning_rates
from planner.run import Schedule, Trial

TRIAL = Trial("t", {"width": 16, "depth": 1}, 100 * 256, 256, 0.01, 10 * 256)


def rates(name, **schedule):
    return learning_rates(replace(TRIAL, schedule=Schedule(name, **schedule)))


@pytest.mark.parametrize("name", ["constant", "linear", "cosine", "wsd"])
def test_warmup_is_linear_in_tokens_and_reaches_the_peak(name):
    np.testing.assert_allclose(rates(name)[:10], 0.001 * np.arange(1, 11))


def test_wsd_holds_the_peak_then_cools_down_as_one_minus_sqrt():
    lr = rates("wsd", decay_ratio=0.2)
    np.testing.assert_allclose(lr[10:81], 0.01)
    np.testing.assert_allclose(lr[80:], 0.01 * (1 - np.sqrt(np.arange(20) / 20)))


def test_linear_and_cosine_end_at_the_final_ratio():
    linear, cosine = (rates(name, final_lr_ratio=0.1) for name in ("linear", "cosine"))
    np.testing.assert_allclose(linear[10:], 0.01 * (1 - 0.9 * np.arange(90) / 90))
    assert cosine[55] == pytest.approx(0.01 * 0.55)
    assert 0.001 < cosine[-1] < 0.00101


def test_the_finder_rises_geometrically_from_the_first_step_to_the_last():
    lr = rates("finder", final_lr_ratio=1e-4)
    assert (lr[0], lr[-1]) == (pytest.approx(1e-6), pytest.approx(0.01))
    np.testing.assert_allclose(np.diff(np.log(lr)), np.log(1e4) / 99)


def test_a_trunk_and_its_fork_follow_the_path_of_the_straight_run():
    fork = learning_rates(TRIAL)
    trunk = learning_rates(replace(TRIAL, tokens=200 * 256, schedule=Schedule("constant")))
    np.testing.assert_array_equal(trunk[:80], fork[:80])


def test_an_unknown_schedule_and_a_finder_without_a_start_are_refused():
    with pytest.raises(SpaceError, match="known: constant"):
        rates("triangle")
    with pytest.raises(SpaceError, match="final_lr_ratio"):
        rates("finder")
