"""What ``planner fit --curves`` learns from training curves besides the final losses.

Doubts about the fitted losses (:mod:`planner.fit.check_curves`), laws of the loss under any
schedule with what another schedule would have made of the fitted runs (:mod:`planner.fit.schedule`)
and, where runs of one size come at three batches or more, the batch beyond which more of it stops
saving steps (:mod:`planner.fit.critical_batch`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from planner.curve import Curve
from planner.finding import Finding
from planner.fit.check_curves import check_curves
from planner.fit.critical_batch import HYPERBOLA, fit_critical_batch, fit_hyperbola
from planner.fit.schedule import (
    ScheduleFit,
    correction_finding,
    fit_group,
    largest_group,
    traces_of_runs,
    traces_of_table,
)
from planner.fit.steps_to_loss import Reached, reached_by_size, swept_rows, swept_runs
from planner.observations import Observations
from planner.study import Study
from planner.witness import critical_batch_told


@dataclass(frozen=True)
class CurvesSay:
    """Doubts, a schedule fit or None, and the steps to one loss of every size swept in batch."""

    findings: tuple[Finding, ...]
    schedule: ScheduleFit | None
    reached: tuple[Reached, ...]

    def lines(self) -> list[str]:
        """Return what is printed of the critical batch."""
        return [f"critical batch: {critical_batch_told(one)[0]}" for one in self.reached]

    def critical_batch_json(self) -> dict[str, Any]:
        """Return the ``critical_batch`` entry of fit.json; the law needs two sizes."""
        sizes = [_size_json(one) for one in self.reached]
        bounded = [r.curve for r in self.reached if critical_batch_told(r)[1]]
        if len(bounded) < 2:
            return {"definition": asdict(HYPERBOLA), "sizes": sizes, "law": None}
        law = fit_critical_batch(bounded)
        told = {
            "anchor": {"params": law.anchor[0], "tokens": law.anchor[1]},
            "names": ["ln_level", "by_ln_params", "by_ln_tokens"],
            "mean": law.mean.tolist(),
            "covariance": law.covariance.tolist(),
        }
        return {"definition": asdict(HYPERBOLA), "sizes": sizes, "law": told}


def ask_curves(
    observations: Observations, every: Sequence[Curve], study: Study | None
) -> CurvesSay:
    """Return what curves say of the fitted runs, and of a study's other runs."""
    fitted, runs = set(observations.key), list(study.ledger.runs.values()) if study else []
    others = {run.key for run in runs} - fitted
    curves = [curve for curve in every if curve.run not in others]
    groups = traces_of_runs(runs, every) if study else traces_of_table(every, observations)
    schedule, doubts = fit_group(groups)
    findings = [*check_curves(observations, curves), *doubts]
    if schedule is not None:
        findings += correction_finding(schedule, largest_group(groups), fitted)
    swept = (
        swept_runs(study.runs_by_stage.get("lr_batch", ()), every)
        if study
        else swept_rows(observations, every)
    )
    reached, unread = reached_by_size(swept)
    return CurvesSay((*findings, *unread), schedule, reached)


def _size_json(one: Reached) -> dict[str, Any]:
    fit = fit_hyperbola(one.curve)
    critical = fit.critical(HYPERBOLA).to_json() if all(fit.bounded) else None
    return {
        "params": one.curve.params,
        "tokens": one.curve.tokens,
        "loss": one.loss,
        "batch_tokens": one.curve.batch_tokens.tolist(),
        "steps": one.curve.steps.tolist(),
        "critical_batch_tokens": critical,
        "bounded": list(fit.bounded),
        "runs": list(one.runs),
    }
