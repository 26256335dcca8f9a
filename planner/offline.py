"""From tables and folders to fits, predictions, plans and reports: seconds, no torch, no trials."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from planner.decide.sizes import BlackBox, Family
from planner.errors import UsageError
from planner.estimate import LEVEL, Estimate
from planner.finding import Finding
from planner.fit.loss_fit import LossFit, fit_loss
from planner.plan.make import Evidence, make_plan
from planner.plan.objective import Objective, objective_from_options
from planner.plan.plan import Plan
from planner.study import Conclusion, Study, conclude, read_study, write_json
from planner.units import format_interval, parse_count

DEFAULT_REACH = 100.0
"""Without a target the plan is for this many times the largest proxy (contracts.md section 3)."""


@dataclass(frozen=True)
class FitOptions:
    """The options of ``planner fit``; ``delta`` is a number or ``auto``."""

    law: str = "auto"
    loss: str = "huber"
    delta: str = "auto"
    level: float = LEVEL
    where: str | None = None
    maps: tuple[str, ...] = ()


def fit_command(source: Path, options: FitOptions, out: Path | None, *, as_json: bool) -> None:
    """Fit a table or a study, print the law and its findings, write fit.json."""
    fit, _ = _fit_of(source, options)
    folder = out or (source if source.is_dir() else None)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "fit.json", fit.to_json())
    print(json.dumps(fit.to_json()) if as_json else _fit_text(fit))  # noqa: T201


def predict_command(
    source: Path, params: str | None, tokens: str | None, points: Path | None, *, as_json: bool
) -> None:
    """Predict losses at one point or at the rows of a CSV."""
    fit = read_fit(source)
    wanted = _points(params, tokens, points)
    found = fit.predict(np.array([p for p, _ in wanted]), np.array([t for _, t in wanted]))
    rows = [
        {"params": p, "tokens": t, "loss": e.value, "low": e.low, "high": e.high}
        for (p, t), e in zip(wanted, found, strict=True)
    ]
    if as_json:
        print(json.dumps({"unit": "nats_per_token", "level": found[0].level, "points": rows}))  # noqa: T201
        return
    writer = csv.DictWriter(sys.stdout, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)


def plan_command(
    source: Path,
    given: Mapping[str, Any],
    options: FitOptions,
    out: Path | None,
    *,
    as_json: bool,
) -> None:
    """Plan for a budget from a fit, a study or a table; print the headline or plan.json."""
    fit, study = _fit_of(source, options)
    if study is not None and not given:
        given = study.space.target or _default_target(fit)
    objective = objective_from_options(given)
    if study is None:
        plan = make_plan(Evidence(fit), objective, family=None)
    else:
        plan = plan_study(study, conclude(study), objective)
    folder = out or (source if source.is_dir() else None)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "plan.json", plan.to_json())
    print(json.dumps(plan.to_json()) if as_json else plan_text(plan))  # noqa: T201


def write_conclusion(folder: Path, target: Mapping[str, Any], *, report: bool) -> Plan:
    """Write a finished study's fit, plan and report; the verdict goes to stdout."""
    study = read_study(folder)
    found = conclude(study)
    write_json(folder / "fit.json", found.loss.to_json() | {"hyper": found.hyper.to_json()})
    if study.prediction is not None:
        write_json(folder / "prediction.json", study.prediction.to_json())
    objective = objective_from_options(target or _default_target(found.loss))
    plan = plan_study(study, found, objective)
    write_json(folder / "plan.json", plan.to_json())
    print(plan_text(plan))  # noqa: T201
    if report:
        print(f"report: {write_study_report(study, found, plan)}")  # noqa: T201
    return plan
