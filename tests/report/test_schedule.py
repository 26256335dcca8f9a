"""One paragraph says which schedule, from what evidence, and what another would gain."""

from __future__ import annotations

from dataclasses import replace

import pytest

from planner.decide.schedule import ScheduleEvidence, label_of
from planner.fit.schedule import fit_schedule, trace_of
from planner.fit.schedule.laws import TISSUE
from planner.report.schedule import schedule
from tests.fit.schedule_world import STEPS, curve


@pytest.fixture(scope="module")
def evidence(study):
    """Laws fitted to a trunk and a drop, named as a run of the study, in its tokens."""
    run = study.in_stage("ladder")[0]
    curves = [curve(TISSUE, (-0.3,), kind) for kind in ("constant", "drop", "wsd")]
    traces = [trace_of(one) for one in curves]
    fit = fit_schedule(traces)
    scale = run.tokens / STEPS
    return ScheduleEvidence(
        replace(fit, unit="tokens", span=fit.span * scale, warmup=fit.warmup * scale,
                runs=(run.key, *fit.runs[1:]))
    )  # fmt: skip


def paragraph(study):
    (block,) = schedule(study).blocks
    return block.text


def test_a_better_cooldown_is_told_with_its_gain_in_nats_and_compute(study, evidence):
    told = paragraph(replace(study, schedule=evidence))
    best = evidence.best(study.plan.decision("tokens").estimate.value)
    assert told.startswith(label_of(best.recommended))
    assert f"{best.gain.value:.2g} nats [{best.gain.low:.2g}, {best.gain.high:.2g}]" in told
    assert "more compute there" in told
    assert "held out" in told
    assert "The expected loss is not corrected" in told


def test_a_tie_needs_no_correction(study, evidence):
    members = tuple(replace(m, held_out=0.3) for m in evidence.fit.members)
    told = paragraph(
        replace(study, schedule=replace(evidence, fit=replace(evidence.fit, members=members)))
    )
    assert "a tie" in told
    assert "no loss had to be corrected" in told


def test_a_study_without_curves_says_so(study):
    told = paragraph(replace(study, schedule=ScheduleEvidence(None, "the folder holds no curves")))
    assert told.endswith("is not known: the folder holds no curves.")


def test_a_bare_plan_repeats_its_decision_or_says_there_is_none(study):
    assert "every proxy was trained with" in paragraph(replace(study, schedule=None))
    sizes = tuple(d for d in study.plan.decisions if d.name != "schedule")
    bare = replace(study, schedule=None, plan=replace(study.plan, decisions=sizes))
    assert "names none" in paragraph(bare)
