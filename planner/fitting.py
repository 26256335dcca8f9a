"""From tables to fits and predictions: seconds, no torch, no trials."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from planner.decide.evidence import loss_runs, tuned
from planner.errors import UsageError
from planner.estimate import LEVEL
from planner.finding import Finding, Severity
from planner.fit.engine import fit_loss
from planner.fit.loss_fit import LossFit
from planner.fit.schedule import ScheduleFit, schedule_json, schedule_lines
from planner.fit.schedule.stored import from_plain
from planner.fitting_curves import CurvesSay, ask_curves
from planner.observations import Observations
from planner.study import Study, conclude, read_study
from planner.study import write_json as _write
from planner.units import parse_count


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
    schedule: ScheduleFit | None = None
    curves: CurvesSay | None = None


def fit_command(
    path: Path, options: FitOptions, out: Path | None, curves: Path | None = None, *, as_json: bool
) -> None:
    """Fit a table or a study, print the law and its findings, write fit.json."""
    source = source_of(path, options)
    if curves is not None:
        source = _with_curves(source, curves)
    if (folder := out or (path if path.is_dir() else None)) is not None:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / "fit.json", _fit_json(source))
    told = [] if source.schedule is None else schedule_lines(source.schedule)
    told += source.curves.lines() if source.curves else []
    emit(json.dumps(_fit_json(source)) if as_json else "\n".join([fit_text(source.fit), *told]))


def _fit_json(source: Source) -> dict[str, Any]:
    """Return the content of fit.json; a study's fits of lr and batch and a schedule's as well."""
    content = source.fit.to_json()
    if source.study is not None:
        content |= {"hyper": source.study.hyper.to_json()}
    if source.schedule is not None:
        content |= {"schedule": schedule_json(source.schedule)}
    if source.curves is not None and source.curves.reached:
        content |= {"critical_batch": source.curves.critical_batch_json()}
    return content


def import_command(
    sources: Sequence[Path], out: Path, maps: Sequence[str], where: str | None, *, all_rows: bool
) -> None:
    """Write the runs of any exports to one table; every row left out gets its line on stderr."""
    from planner.table import import_runs

    done = import_runs(sources, out, maps, where=where, all_rows=all_rows)
    _tell_rows(done.dropped, done.notes, done.unknown_columns)
    bounds = f", {done.bounds} of them upper bounds only" if done.bounds else ""
    tell(f"wrote {done.rows} runs to {done.out}{bounds}; fit it with `planner fit {done.out}`")


def _tell_rows(
    dropped: Sequence[tuple[str, str]], notes: Sequence[str], unknown: Sequence[str]
) -> None:
    for row, reason in dropped:
        tell(f"dropped {row}: {reason}")
    for note in notes:
        tell(f"note: {note}")
    if unknown:
        tell(f"columns not used: {', '.join(unknown)}")


def predict_command(
    path: Path, params: str | None, tokens: str | None, points: Path | None, *, as_json: bool
) -> None:
    """Predict losses at one point or at the rows of a CSV."""
    fit = read_fit(path)
    wanted = _points(params, tokens, points)
    found = fit.predict(np.array([p for p, _ in wanted]), np.array([t for _, t in wanted]))
    rows = [
        {"params": p, "tokens": t, "loss": e.value, "low": e.low, "high": e.high}
        for (p, t), e in zip(wanted, found, strict=True)
    ]
    if as_json:
        head = {"schema_version": 1, "loss_unit": "nats_per_token", "level": found[0].level}
        emit(json.dumps(head | {"points": rows}))
        return
    writer = csv.DictWriter(sys.stdout, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)


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
    if len(fit.members) > 1:
        shares = ", ".join(f"{member.law} {member.weight:.0%}" for member in fit.members)
        lines.append(f"  predictions average {shares}, weighed on runs larger than each had seen")
    return "\n".join([*lines, *finding_lines(fit.findings)])


def finding_lines(findings: tuple[Finding, ...]) -> list[str]:
    """Return a line per finding, the heaviest first."""
    order = list(reversed(Severity))
    ranked = sorted(findings, key=lambda finding: order.index(finding.severity))
    return [f"  {f.severity.value}: {f.what} {f.remedy}".rstrip() for f in ranked]


def source_of(path: Path, options: FitOptions) -> Source:
    """Fit what a path holds: a study, a runs table or a tracker's folder; a fit.json as it is."""
    if path.is_dir() and (path / "events.jsonl").is_file():
        study = read_study(path)
        runs = Observations.from_runs(tuned(loss_runs(study.runs_by_stage), study.hyper))
        default = options == FitOptions()
        return Source(conclude(study).loss if default else options.fit(runs), study, runs)
    if _is_fit(path):
        return Source(read_fit(path), schedule=_saved_schedule(path))
    from planner.table import read_runs

    table = read_runs(path, options.maps, options.where)
    _tell_rows(table.dropped, table.notes, table.unknown_columns)
    return Source(options.fit(table.observations), None, table.observations)


def _is_fit(path: Path) -> bool:
    """Say whether a path holds a fit rather than runs; both may be JSON."""
    file = path / "fit.json" if path.is_dir() else path
    if file.suffix != ".json" or not file.is_file():
        return False
    data = read_json(file, "planner fit")
    return isinstance(data, dict) and {"law", "members", "draws"} <= data.keys()


def _with_curves(source: Source, path: Path) -> Source:
    """Add what the training curves say: doubts to the findings, the schedule, critical batches."""
    from planner.curves import read_curves

    if source.observations is None:
        raise UsageError("--curves speaks of runs: fit a runs table or a study, not a fit.json")
    said = ask_curves(source.observations, read_curves(path), source.study)
    fit = replace(source.fit, findings=source.fit.findings + said.findings)
    return replace(source, fit=fit, schedule=said.schedule, curves=said)


def _saved_schedule(path: Path) -> ScheduleFit | None:
    """Return the laws of the schedule that ``planner fit --curves`` put beside a fit."""
    file = path / "fit.json" if path.is_dir() else path
    saved = read_json(file, "planner fit").get("schedule", {}).get("fit")
    return from_plain(saved) if saved else None


def read_fit(path: Path) -> LossFit:
    """Read a fit.json, or that of a folder."""
    file = path / "fit.json" if path.is_dir() else path
    return LossFit.from_json(read_json(file, "planner fit"))


def read_json(file: Path, maker: str) -> dict[str, Any]:
    """Read a JSON file; UsageError names the command ``maker`` that writes it."""
    if not file.is_file():
        raise UsageError(f"{file} does not exist; `{maker} ... --out {file.parent}` writes it")
    try:
        data: dict[str, Any] = json.loads(file.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is not JSON: {error}; `{maker}` writes one") from None
    return data


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


def emit(text: str) -> None:
    """Print what was asked for."""
    print(text)  # noqa: T201


def tell(text: str) -> None:
    """Print what should be known besides."""
    print(text, file=sys.stderr)  # noqa: T201
