"""A trial is given up when it dies again and again without coming further, and only then."""

import pytest

from planner.ledger import Ledger
from planner.run import Status
from planner.shape import size_from_mapping
from tests.test_ledger import run, trial

SIZE = size_from_mapping({"params": 10})
KEY = trial().key({})


@pytest.fixture
def ledger(tmp_path):
    with Ledger.open(tmp_path / "study") as ledger:
        yield ledger


def attempt(ledger, *, reaches=0, counts=True, host="local", note="killed", lost=True):
    """Let a trial have one more attempt, lost after ``reaches`` tokens."""
    number = ledger.attempts(KEY) + 1
    ledger.started(KEY, number, host, trial(), SIZE)
    ledger.progress(KEY, number, reaches)
    if lost:
        ledger.lost(KEY, number, note, counts=counts)


def deaths(ledger):
    again = Ledger.read(ledger.folder)
    assert again.deaths(KEY) == ledger.deaths(KEY)
    return ledger.deaths(KEY)[0]


def test_deaths_at_the_same_place_add_up_and_further_ones_begin_anew(ledger):
    counted = []
    for reaches in (0, 0, 300, 300, 200, 500, 0):
        attempt(ledger, reaches=reaches)
        counted.append(deaths(ledger))
    assert counted == [1, 2, 1, 2, 3, 1, 2]


def test_what_was_asked_to_leave_or_lost_its_driver_does_not_count(ledger):
    attempt(ledger, counts=False)
    attempt(ledger, lost=False)
    attempt(ledger)
    assert ledger.deaths(KEY) == (1, "killed")


def test_inside_the_driver_a_dead_driver_counts(ledger):
    for _ in range(3):
        attempt(ledger, host="inline", lost=False)
    assert deaths(ledger) == 3
    assert "in whose own process it ran" in ledger.deaths(KEY)[1]


def test_an_ended_trial_is_forgotten_and_a_zombies_end_forgets_nothing(ledger):
    attempt(ledger)
    attempt(ledger)
    ledger.ended(run(trial(), 1))
    assert deaths(ledger) == 2
    ledger.ended(run(trial(), 2))
    assert deaths(ledger) == 0
    assert ledger.runs[KEY].status is Status.DONE
