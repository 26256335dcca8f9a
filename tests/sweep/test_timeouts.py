"""A trial hangs when it is silent for much longer than trials like it; clocks never fool it."""

import pytest

from planner.shape import size_from_mapping
from planner.sweep.timeouts import (
    AWAKE_SECONDS,
    LEAST_SECONDS,
    SLACK,
    UNKNOWN_SECONDS,
    Vigil,
)
from tests.test_ledger import run, trial

SIZE = size_from_mapping({"params": 10})
PACE = SIZE.flops_per_token


class Clock:
    """A clock that moves when told."""

    def __init__(self):
        self.now = 1e6

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def vigil(clock):
    return Vigil(clock=clock)


def wait(vigil, clock, seconds):
    """Let time pass under a driver that looks every second; return what hangs."""
    found = {}
    for _ in range(round(seconds)):
        clock.now += 1.0
        found |= vigil.hanging()
    return found


def learn(vigil, seconds):
    """Let a run of 1,000 tokens have taken so long."""
    vigil.learn(run(trial(), seconds=seconds))


def test_a_silent_trial_hangs_after_a_multiple_of_what_its_like_took(vigil, clock):
    learn(vigil, 50.0)
    vigil.begins("a", PACE, 2 * PACE * 1000)
    assert not wait(vigil, clock, SLACK * 2 * 50)
    found = wait(vigil, clock, 2)
    assert "executor.hang_minutes" in found["a"]


def test_short_trials_get_the_time_to_start_up(vigil, clock):
    learn(vigil, 0.1)
    vigil.begins("a", PACE, PACE * 1000)
    assert not wait(vigil, clock, LEAST_SECONDS)
    assert wait(vigil, clock, 2)


def test_every_sign_of_life_begins_the_wait_anew(vigil, clock):
    learn(vigil, 0.1)
    vigil.begins("a", PACE, PACE * 1000)
    for _ in range(5):
        assert not wait(vigil, clock, LEAST_SECONDS - 1)
        vigil.hears("a")


def test_a_trial_nothing_is_known_of_may_be_silent_for_long(vigil, clock):
    vigil.begins("a", PACE, PACE * 1000)
    assert not wait(vigil, clock, UNKNOWN_SECONDS)
    assert wait(vigil, clock, 2)


def test_before_any_has_ended_its_own_age_is_the_measure(vigil, clock):
    vigil.begins("a", PACE, PACE * 1000)
    wait(vigil, clock, 100)
    vigil.hears("a")
    assert not wait(vigil, clock, SLACK * 100)
    assert wait(vigil, clock, 2)


def test_points_told_again_after_a_restart_are_no_measure(vigil, clock):
    vigil.begins("a", PACE, PACE * 1000)
    wait(vigil, clock, 2)
    vigil.hears("a")
    vigil.hears("a", resumed=True)
    assert not wait(vigil, clock, 10 * LEAST_SECONDS)


def test_trials_that_tell_often_are_missed_sooner(vigil, clock):
    learn(vigil, 10_000.0)
    vigil.begins("a", PACE, PACE * 1000)
    for _ in range(100):
        wait(vigil, clock, 100)
        vigil.hears("a")
    vigil.ends("a", well=True)
    vigil.begins("b", PACE, PACE * 1000)
    assert not wait(vigil, clock, 0.9 * SLACK * 100)
    assert wait(vigil, clock, 0.2 * SLACK * 100)


def test_a_driver_that_was_stopped_and_a_clock_that_was_set_make_nothing_hang(vigil, clock):
    learn(vigil, 0.1)
    vigil.begins("a", PACE, PACE * 1000)
    clock.now += 1e9
    assert not vigil.hanging()
    clock.now -= 2e9
    assert not vigil.hanging()
    assert not wait(vigil, clock, LEAST_SECONDS - 2 * AWAKE_SECONDS)
    assert wait(vigil, clock, 3 * AWAKE_SECONDS)


def test_a_patience_that_is_set_is_the_patience(clock):
    vigil = Vigil(30.0, clock)
    vigil.begins("a", PACE, PACE * 1000)
    assert not wait(vigil, clock, 30)
    assert wait(vigil, clock, 2)


def test_a_resumed_run_teaches_no_pace(vigil, clock):
    vigil.learn(run(trial(), seconds=0.1, metrics={"resumed_tokens": 900}))
    vigil.begins("a", PACE, PACE * 1000)
    assert not wait(vigil, clock, 10 * LEAST_SECONDS)
