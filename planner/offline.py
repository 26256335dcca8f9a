"""From tables and folders to fits, predictions, plans and reports: seconds, no torch, no trials."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from planner.decide.evidence import fit_hyper_of, loss_runs
from planner.decide.sizes import BlackBox, Family
from planner.errors import UsageError
from planner.estimate import LEVEL, Estimate
from planner.finding import Finding, Severity
from planner.fit.check_curves import check_curves
from planner.fit.engine import fit_loss
from planner.fit.loss_fit import LossFit
from planner.observations import Observations
from planner.plan.make import Evidence, make_plan
from planner.plan.objective import Objective, objective_from_options
from planner.plan.plan import Plan
from planner.report.page import write_report
from planner.report.study import ReportInput, StageSummary
from planner.study import Conclusion, Study, conclude, facts_of, provenance_of, read_study
from planner.study import write_json as _write
from planner.units import format_count, format_interval, parse_count

DEFAULT_REACH = 100.0
"""Without a target the plan is for this many times the largest proxy (contracts.md section 3)."""

COUNTED = 1e3
"""From here on a number is shown as a count: 25M rather than 25,000,000."""


@dataclass(frozen=True)
class FitOptions:
    """The options of ``planner fit``; ``delta`` is a number or ``auto``."""

    law: str = "auto"
    loss: str = "huber"
    delta: str = "auto"
    level: float = LEVEL
    where: str | None = None
    maps: tuple[str, ...] = ()

    def fit(self, observations: Observations) -> LossFit:
        """Fit a law as asked. Raises UsageError for a delta that is no number."""
        if not 0 < self.level < 1:
            raise UsageError(f"--level {self.level:g} is no level; it lies between 0 and 1")
        try:
            delta = None if self.delta == "auto" else float(self.delta)
        except ValueError:
            raise UsageError(f"--delta {self.delta} is neither auto nor a number") from None
        return fit_loss(observations, law=self.law, loss=self.loss, delta=delta, level=self.level)


@dataclass(frozen=True)
class Source:
    """What a command was pointed at: a fit, and the study or the rows it came from."""

    fit: LossFit
    study: Study | None = None
    observations: Observations | None = None


def fit_command(
    path: Path, options: FitOptions, out: Path | None, curves: Path | None = None, *, as_json: bool
) -> None:
    """Fit a table or a study, print the law and its findings, write fit.json."""
    source = _source(path, options)
    if curves is not None:
        source = _doubted(source, curves)
    if (folder := out or (path if path.is_dir() else None)) is not None:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / "fit.json", _fit_json(source))
    _print(json.dumps(_fit_json(source)) if as_json else fit_text(source.fit))


def _fit_json(source: Source) -> dict[str, Any]:
    """Return the content of fit.json; a study's holds its fits of lr and batch as well."""
    if source.study is None:
        return source.fit.to_json()
    return source.fit.to_json() | {"hyper": fit_hyper_of(source.study.runs_by_stage).to_json()}


def import_command(
    sources: Sequence[Path], out: Path, maps: Sequence[str], where: str | None, *, all_rows: bool
) -> None:
    """Write the runs of any exports to one table; every row left out gets its line on stderr."""
    from planner.table import import_runs

    done = import_runs(sources, out, maps, where=where, all_rows=all_rows)
    _tell_rows(done.dropped, done.notes, done.unknown_columns)
    bounds = f", {done.bounds} of them upper bounds only" if done.bounds else ""
    _say(f"wrote {done.rows} runs to {done.out}{bounds}; fit it with `planner fit {done.out}`")


def _tell_rows(
    dropped: Sequence[tuple[str, str]], notes: Sequence[str], unknown: Sequence[str]
) -> None:
    for row, reason in dropped:
        _say(f"dropped {row}: {reason}")
    for note in notes:
        _say(f"note: {note}")
    if unknown:
        _say(f"columns not used: {', '.join(unknown)}")


def predict_command(
    path: Path, params: str | None, tokens: str | None, points: Path | None, *, as_json: bool
) -> None:
    """Predict losses at one point or at the rows of a CSV."""
    fit = _read_fit(path)
    wanted = _points(params, tokens, points)
    found = fit.predict(np.array([p for p, _ in wanted]), np.array([t for _, t in wanted]))
    rows = [
        {"params": p, "tokens": t, "loss": e.value, "low": e.low, "high": e.high}
        for (p, t), e in zip(wanted, found, strict=True)
    ]
    if as_json:
        head = {"schema_version": 1, "loss_unit": "nats_per_token", "level": found[0].level}
        _print(json.dumps(head | {"points": rows}))
        return
    writer = csv.DictWriter(sys.stdout, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)


def plan_command(
    path: Path, given: Mapping[str, Any], options: FitOptions, out: Path | None, *, as_json: bool
) -> None:
    """Plan for a budget from a fit, a study or a table; print the headline or plan.json."""
    if path.is_dir() and (path / "events.jsonl").is_file():
        study = read_study(path)
        found = conclude(study)
        plan = plan_study(study, found, _objective(given or study.space.target, found.loss))
    else:
        source = _source(path, options)
        plan = make_plan(Evidence(source.fit), _objective(given, source.fit))
    if (folder := out or (path if path.is_dir() else None)) is not None:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / "plan.json", plan.to_json())
    _print(json.dumps(plan.to_json()) if as_json else plan_text(plan))


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
        content = ReportInput(folder.resolve().name, plan, _read_fit(folder))
        html = write_report(out or folder, content)[1]
    _print(f"report: {html}")


def write_conclusion(folder: Path, *, report: bool) -> Plan:
    """Write a finished study's fit, plan and report; the verdict goes to stdout."""
    study = read_study(folder)
    found = conclude(study)
    _write(folder / "fit.json", found.loss.to_json() | {"hyper": found.hyper.to_json()})
    if study.prediction is not None:
        _write(folder / "prediction.json", study.prediction.to_json())
    plan = plan_study(study, found, _objective(study.space.target, found.loss))
    _write(folder / "plan.json", plan.to_json())
    _print(plan_text(plan))
    if report:
        _print(f"report: {write_study_report(study, found, plan, folder)}")
    return plan


def plan_study(study: Study, found: Conclusion, objective: Objective) -> Plan:
    """Plan from everything a study found, over the shapes of its own ladder."""
    family: Family = study.family or BlackBox.of([run.size for run in study.ledger.runs.values()])
    facts, origin = facts_of(study), provenance_of(study)
    evidence = Evidence(found.loss, found.hyper, found.judgement, found.findings, facts, origin)
    return make_plan(evidence, objective, family=family)


def write_study_report(study: Study, found: Conclusion, plan: Plan, folder: Path) -> Path:
    """Write the report of a study; return the path of report.html."""
    stages = {
        key: entry.stage
        for entry in reversed(study.ledger.rounds)
        for key in study.ledger.stage_keys(entry.stage)
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
            StageSummary(entry.stage, entry.why, len(entry.trials), study.spent_on(entry))
            for entry in study.ledger.rounds
        ),
        recipe=study.env["recipe"],
    )
    return write_report(folder, content)[1]


def fit_text(fit: LossFit) -> str:
    """Say in lines what a fit found."""
    reach = fit.range
    lines = [
        f"{fit.law} on {reach.n_points} runs of {reach.n_sizes} sizes: {fit.status}",
        f"  C {reach.flops[0]:.3g} to {reach.flops[1]:.3g}, N {fit.n_convention}, "
        f"FLOPs {fit.flops_convention}; residual sd {fit.sigma:.2%} of the loss; {fit.method}",
    ]
    intervals = fit.to_json()["intervals"]
    for name, value in fit.params.items():
        low, high = intervals[name]
        lines.append(f"  {name:6s} {value:.6g}  [{low:.4g}, {high:.4g}] statistical")
    return "\n".join([*lines, *_finding_lines(fit.findings)])


def plan_text(plan: Plan) -> str:
    """Say in lines what a plan recommends."""
    lines = [plan.headline, ""]
    for decision in plan.decisions:
        e: Estimate = decision.estimate
        write = format_count if e.value >= COUNTED else None
        measured = f"{format_interval(e.value, e.low, e.high, write)} {decision.unit}"
        lines.append(f"  {decision.name:15s} {decision.label or measured}".rstrip())
    return "\n".join([*lines, *_finding_lines(plan.findings)])


def _finding_lines(findings: tuple[Finding, ...]) -> list[str]:
    order = list(reversed(Severity))
    ranked = sorted(findings, key=lambda finding: order.index(finding.severity))
    return [f"  {f.severity.value}: {f.what} {f.remedy}".rstrip() for f in ranked]


def _source(path: Path, options: FitOptions) -> Source:
    """Fit what a path holds: a study folder, a runs table, or a fit.json as it is."""
    if path.is_dir() and (path / "events.jsonl").is_file():
        study = read_study(path)
        runs = Observations.from_runs(loss_runs(study.runs_by_stage))
        default = options == FitOptions()
        return Source(conclude(study).loss if default else options.fit(runs), study, runs)
    if path.is_dir() or path.suffix == ".json":
        return Source(_read_fit(path))
    from planner.table import read_runs

    table = read_runs(path, options.maps, options.where)
    _tell_rows(table.dropped, table.notes, table.unknown_columns)
    return Source(options.fit(table.observations), None, table.observations)


def _doubted(source: Source, path: Path) -> Source:
    """Add what the training curves say about the fitted runs to the fit's findings."""
    from planner.curves import read_curves

    if source.observations is None:
        raise UsageError("--curves speaks of runs: fit a runs table or a study, not a fit.json")
    fitted, study = set(source.observations.key), source.study
    others = study.ledger.runs.keys() - fitted if study else set()
    curves = [curve for curve in read_curves(path) if curve.run not in others]
    findings = source.fit.findings + check_curves(source.observations, curves)
    return replace(source, fit=replace(source.fit, findings=findings))


def _read_fit(path: Path) -> LossFit:
    file = path / "fit.json" if path.is_dir() else path
    return LossFit.from_json(_read_json(file, "planner fit"))


def _read_plan(file: Path) -> Plan:
    return Plan.from_json(_read_json(file, "planner plan"))


def _read_json(file: Path, maker: str) -> dict[str, Any]:
    if not file.is_file():
        raise UsageError(f"{file} does not exist; `{maker} ... --out {file.parent}` writes it")
    try:
        data: dict[str, Any] = json.loads(file.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is not JSON: {error}; `{maker}` writes one") from None
    return data


def _objective(given: Mapping[str, Any], fit: LossFit) -> Objective:
    return objective_from_options(given or {"flops": DEFAULT_REACH * fit.range.flops[1]})


def _points(
    params: str | None, tokens: str | None, points: Path | None
) -> list[tuple[float, float]]:
    if points is None:
        if params is None or tokens is None:
            raise UsageError("predict needs --params and --tokens, or --points with a CSV of both")
        return [(parse_count(params), parse_count(tokens))]
    if not points.is_file():
        raise UsageError(f"{points} does not exist; it must be a CSV with params,tokens")
    with points.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    if not rows or not {"params", "tokens"} <= rows[0].keys():
        raise UsageError(f"{points} must be a CSV with the columns params,tokens and a row or more")
    return [(parse_count(row["params"]), parse_count(row["tokens"])) for row in rows]


def _print(text: str) -> None:
    print(text)  # noqa: T201


def _say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201
