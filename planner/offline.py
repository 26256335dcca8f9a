"""From fits and folders to plans and reports: seconds, no torch, no trials."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from planner.decide.schedule import ScheduleEvidence
from planner.decide.sizes import BlackBox, Family
from planner.estimate import Estimate
from planner.fit.loss_fit import LossFit
from planner.fitting import (
    FitOptions,
    emit,
    finding_lines,
    read_fit,
    read_json,
    source_of,
)
from planner.plan.make import Evidence, make_plan
from planner.plan.objective import Objective, objective_from_options
from planner.plan.plan import Plan
from planner.plan.recipe import by_recipe
from planner.report.page import write_report
from planner.report.study import ReportInput, StageSummary
from planner.schedules import FILE as SCHEDULE
from planner.schedules import schedule_file
from planner.study import Conclusion, Study, conclude, facts_of, provenance_of, read_study
from planner.study import write_json as _write
from planner.units import format_count, format_interval
from planner.words import retold, unit_of

DEFAULT_REACH = 100.0
"""Without a target the plan is for this many times the largest proxy (contracts.md section 3)."""

COUNTED = 1e3
"""From here on a number is shown as a count: 25M rather than 25,000,000."""


def plan_command(
    path: Path, given: Mapping[str, Any], options: FitOptions, out: Path | None, *, as_json: bool
) -> None:
    """Plan for a budget from a fit, a study or a table; print the headline or plan.json."""
    if path.is_dir() and (path / "events.jsonl").is_file():
        study = read_study(path)
        found = conclude(study)
        plan = plan_study(study, found, _objective(given or study.space.target, found.loss))
    else:
        source = source_of(path, options)
        schedule = ScheduleEvidence(source.schedule, own=False)
        plan = make_plan(Evidence(source.fit, schedule=schedule), _objective(given, source.fit))
    if (folder := out or (path if path.is_dir() else None)) is not None:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / "plan.json", plan.to_json())
    emit(json.dumps(plan.to_json()) if as_json else plan_text(plan))


def report_command(path: Path, out: Path | None) -> None:
    """Write the report of a study, or of a plan.json with its fit.json beside it."""
    if path.is_dir() and (path / "events.jsonl").is_file():
        study = read_study(path)
        found = conclude(study)
        saved = path / "plan.json"
        plan = (
            _read_plan(saved)
            if saved.is_file()
            else plan_study(study, found, _objective(study.space.target, found.loss))
        )
        html = write_study_report(study, found, plan, out or path)
    else:
        plan = _read_plan(path / "plan.json" if path.is_dir() else path)
        folder = path if path.is_dir() else path.parent
        content = ReportInput(folder.resolve().name, plan, read_fit(folder))
        html = write_report(out or folder, content)[1]
    emit(f"report: {html}")


def write_conclusion(folder: Path, *, report: bool) -> Plan:
    """Write a finished study's fit, plan and report; the verdict goes to stdout."""
    study = read_study(folder)
    found = conclude(study)
    _write(folder / "fit.json", found.loss.to_json() | {"hyper": found.hyper.to_json()})
    _write(folder / SCHEDULE, schedule_file(found.schedule, study.ledger.hash()))
    if study.prediction is not None:
        _write(folder / "prediction.json", study.prediction.to_json())
    plan = plan_study(study, found, _objective(study.space.target, found.loss))
    _write(folder / "plan.json", plan.to_json())
    emit(plan_text(plan))
    if report:
        emit(f"report: {write_study_report(study, found, plan, folder)}")
    return plan


def plan_study(study: Study, found: Conclusion, objective: Objective) -> Plan:
    """Plan from everything a study found, over the shapes of its own ladder."""
    family: Family = study.family or BlackBox.of([run.size for run in study.ledger.runs.values()])
    facts, origin = facts_of(study), provenance_of(study)
    evidence = Evidence(
        found.loss,
        found.hyper,
        found.judgement,
        found.findings,
        facts,
        origin,
        found.schedule,
        found.accuracy,
    )
    plan = make_plan(evidence, objective, family=family)
    return retold(by_recipe(plan, study.env["recipe"]), unit_of(study.env["recipe"]))


def write_study_report(study: Study, found: Conclusion, plan: Plan, folder: Path) -> Path:
    """Write the report of a study; return the path of report.html."""
    stages = {
        key: stage
        for stage in reversed(study.ledger.stages)
        for key in study.ledger.stage_keys(stage)
    }
    content = ReportInput(
        title=study.space.study,
        plan=plan,
        fit=found.loss,
        hyper=found.hyper,
        runs=tuple(study.ledger.runs.values()),
        stage_of=stages,
        prediction=study.prediction,
        judgement=found.judgement,
        rounds=tuple(
            StageSummary(
                entry.stage,
                entry.why,
                len(entry.trials),
                study.spent_on(entry),
                study.standings.get(entry.number),
            )
            for entry in study.ledger.rounds
        ),
        recipe=study.env["recipe"],
        schedule=found.schedule,
        losses=study.ledger.losses,
    )
    return write_report(folder, content)[1]


def plan_text(plan: Plan) -> str:
    """Say in lines what a plan recommends."""
    lines = [plan.headline, ""]
    for decision in plan.decisions:
        e: Estimate = decision.estimate
        write = format_count if e.value >= COUNTED else None
        measured = f"{format_interval(e.value, e.low, e.high, write)} {decision.unit}"
        lines.append(f"  {decision.name:15s} {decision.label or measured}".rstrip())
    return "\n".join([*lines, *finding_lines(plan.findings)])


def _read_plan(file: Path) -> Plan:
    return Plan.from_json(read_json(file, "planner plan"))


def _objective(given: Mapping[str, Any], fit: LossFit) -> Objective:
    return objective_from_options(given or {"flops": DEFAULT_REACH * fit.range.flops[1]})
