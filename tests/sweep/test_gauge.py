"""The time left: what the stages ahead cost, at their own pace where they have one."""

from __future__ import annotations

import pytest

from planner.sweep.gauge import Gauge


def test_stages_without_a_trial_go_at_the_dearest_trials_pace():
    gauge = Gauge({"lr_batch": 10.0, "ladder": 100.0, "held_out": 200.0})
    assert gauge.seconds_left(2) is None
    gauge.ended("lr_batch", 1.0, 5.0)
    assert gauge.seconds_left(2) == pytest.approx((9 * 5 + 300 * 5) / 2)
    gauge.ended("ladder", 20.0, 20.0)
    assert gauge.seconds_left(1) == pytest.approx(9 * 5 + 80 * 1 + 200 * 1)


def test_stages_before_the_newest_round_are_over():
    gauge = Gauge({"lr_batch": 10.0, "seeds": 5.0, "warmup": 5.0, "ladder": 100.0})
    gauge.ended("lr_batch", 4.0, 4.0)
    gauge.decided({"seeds", "warmup"})
    assert gauge.seconds_left(1) == pytest.approx(110)
    gauge.decided({"ladder"})
    assert gauge.seconds_left(1) == pytest.approx(100)


def test_a_stage_dearer_than_expected_leaves_nothing():
    gauge = Gauge({"ladder": 10.0})
    gauge.ended("ladder", 30.0, 3.0)
    assert gauge.seconds_left(1) == 0
    gauge.ended("unknown", 1.0, 1.0)
    assert gauge.seconds_left(1) == 0
