"""A study's curves are fitted once for a ledger: schedule.json stands for them from then on."""

from __future__ import annotations

import json
import shutil

from planner.curves import read_curves
from planner.decide.schedule import schedule_decision
from planner.schedules import UNTOLD, is_told, schedule_file, schedule_of
from planner.study import conclude, read_study


def test_a_swept_study_keeps_its_laws_and_needs_its_curves_no_more(copied):
    saved = json.loads((copied / "schedule.json").read_text())
    assert saved["ledger_hash"] == read_study(copied).ledger.hash()
    shutil.rmtree(copied / "curves")
    found = conclude(read_study(copied))
    assert found.schedule.fit is not None
    assert found.schedule.fit.schedules >= 2
    again = schedule_file(found.schedule, saved["ledger_hash"])
    assert json.loads(json.dumps(again)) == saved


def test_laws_of_another_ledger_are_not_used(copied):
    study = read_study(copied)
    runs = tuple(study.ledger.runs.values())
    assert schedule_of(copied, study.ledger.hash(), runs, ()).fit is not None
    other = schedule_of(copied, "another", runs, ())
    assert (other.fit, other.why_not) == (None, "the folder holds no curves that can be read")


def test_runs_that_all_follow_one_schedule_decide_nothing(copied):
    study = read_study(copied)
    alone = [r for r in study.ledger.runs.values() if not r.trial.parent and not r.trial.keep_at]
    found = schedule_of(copied, "another", alone, read_curves(copied / "curves"))
    assert found.fit is None
    assert "follow different schedules" in found.why_not


def test_a_file_cut_short_is_fitted_anew(copied):
    study = read_study(copied)
    text = (copied / "schedule.json").read_text()
    (copied / "schedule.json").write_text(text[: len(text) // 2])
    runs = tuple(study.ledger.runs.values())
    found = schedule_of(copied, study.ledger.hash(), runs, read_curves(copied / "curves"))
    assert found.fit is not None


def test_a_damaged_curve_is_said_and_stops_no_plan(copied):
    damaged = next((copied / "curves").iterdir())
    damaged.write_bytes(b"PAR1 no more")
    (copied / "schedule.json").unlink()
    found = conclude(read_study(copied))
    (told,) = (one for one in found.findings if one.code == "curves-unread")
    assert damaged.name in told.what
    assert found.schedule.why_not == "the folder holds no curves that can be read"


def test_a_command_that_is_not_told_the_schedule_is_no_evidence_of_it():
    silent = {"proxy": "command", "argv": ["train", "--lr", "{lr}"]}
    assert not is_told(silent)
    assert is_told({"proxy": "gpt"})
    assert is_told(silent | {"argv": ["train", "--cooldown={decay_steps}"]})
    assert is_told(silent | {"env": {"KIND": "{schedule}"}})
    reason = schedule_decision(UNTOLD, 1e9).reason
    assert "which the runs were not told to follow" in reason
    assert "the trainer's own schedule" in reason
