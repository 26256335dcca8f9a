"""The schedule is decided by curves that say something, and kept where they do not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from planner.decide.schedule import ScheduleEvidence, label_of, schedule_decision
from planner.fit.schedule import USUAL, Cooldown, fit_schedule, trace_of
from planner.fit.schedule.laws import TISSUE
from planner.fit.schedule.stored import from_plain, to_plain
from tests.fit.schedule_world import curve


@pytest.fixture(scope="module")
def fit():
    """Laws fitted to curves whose relief needs a long cooldown: half a run is far too short."""
    kinds = ("constant", "drop", "wsd")
    shape = (-0.3,)
    return fit_schedule([trace_of(curve(TISSUE, shape, kind)) for kind in kinds])


def test_without_curves_the_proxies_schedule_stays_and_says_why():
    kept = schedule_decision(ScheduleEvidence(None, "the folder holds no curves"), 1e9)
    assert kept.estimate.value == USUAL.fraction
    assert "every proxy" in kept.reason
    assert kept.reason.endswith("not known: the folder holds no curves.")


def test_a_gain_beyond_its_interval_is_taken_with_its_evidence(fit):
    best = ScheduleEvidence(fit).best(1e9)
    assert not best.tie
    taken = schedule_decision(ScheduleEvidence(fit), 1e9)
    assert taken.estimate.value == best.recommended.fraction > USUAL.fraction
    assert taken.label == label_of(best.recommended)
    assert f"[{best.gain.low:.2g}, {best.gain.high:.2g}]" in taken.reason
    assert "held out" in taken.reason
    assert "the expected loss does not hold" in taken.reason
    assert taken.evidence == fit.runs


def test_a_gain_inside_its_interval_is_a_tie(fit):
    doubtful = replace(fit, members=tuple(replace(m, held_out=0.3) for m in fit.members))
    kept = schedule_decision(ScheduleEvidence(doubtful), 1e9)
    assert kept.estimate.value == USUAL.fraction
    assert kept.reason.endswith("a tie.")


def test_a_fit_kept_as_plain_data_decides_the_same(fit):
    again = from_plain(to_plain(fit))
    decided = [schedule_decision(ScheduleEvidence(one), 1e9) for one in (fit, again)]
    assert decided[0] == decided[1]


def test_a_schedule_is_named_as_a_trainer_is_told_it():
    assert "1-sqrt cooldown to zero" in label_of(USUAL)
    said = label_of(Cooldown(0.4, 1.0, 0.05))
    assert "1 - x^1 to 5% of the peak over the last 40%" in said
