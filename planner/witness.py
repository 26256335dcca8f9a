"""Two witnesses of the batch: the gradient noise scale, and the batch beyond which steps stay.

The dearest finished run that measured gradient norms speaks for the study: its noise scale is held
against the fitted best batch at its own size and horizon (:mod:`planner.fit.noise_scale`). The lr x
batch stage's curves tell at which batch more of it stops saving steps (:mod:`critical_batch
<planner.fit.critical_batch>`). Both decide nothing: the batch comes from decayed losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from planner.curve import Curve
from planner.finding import Finding, Severity
from planner.fit.critical_batch import HYPERBOLA, fit_hyperbola
from planner.fit.hyper_fit import HyperFit
from planner.fit.noise_scale import GradientNorms, noise_scale, noise_scale_against
from planner.fit.steps_to_loss import UNIDENTIFIED, Reached, reached_by_size, swept_runs
from planner.run import Run
from planner.units import format_count

COLUMNS = ("grad_sq_small", "grad_sq_big")
"""Squared norms in a run's curve, nan where a report measured none; their batches, in tokens, are
the metrics batch_small and batch_big."""


def noise_findings(curves: Path, runs: Sequence[Run], hyper: HyperFit) -> list[Finding]:
    """Return what the measured noise scale says of the best batch; nothing where none was."""
    measured = [run for run in runs if run.done and "batch_small" in run.metrics]
    measured = [run for run in measured if (curves / f"{run.key}.parquet").is_file()]
    if not measured:
        return []
    run = max(measured, key=lambda run: (run.flops, run.key))
    try:
        found = noise_scale(_norms(curves / f"{run.key}.parquet", run))
    except ValueError as error:
        return [Finding("noise-scale-unidentified", Severity.INFO, f"Gradient norms: {error}.")]
    best = hyper.batch(run.size, run.tokens)
    doubt = noise_scale_against(found, best)
    if doubt is not None or found.tokens is None:
        return [doubt] if doubt else []
    scale = found.tokens
    what = (
        f"The gradient noise scale at {format_count(run.size.params_matmul)} parameters is "
        f"{scale.value:.3g} tokens [{scale.low:.3g}, {scale.high:.3g}]; the fitted best batch "
        f"there, {best.value:.3g} [{best.low:.3g}, {best.high:.3g}], does not contradict it."
    )
    return [Finding("noise-scale", Severity.INFO, what)]


def critical_batch_findings(
    curves: Sequence[Curve], runs: Sequence[Run], hyper: HyperFit
) -> list[Finding]:
    """Return what a batch sweep's curves say of the critical batch; nothing without a sweep."""
    reached, unread = reached_by_size(swept_runs(runs, curves))
    sizes = {run.size.params_matmul: run.size for run in runs}
    findings = list(unread)
    for found in reached:
        told, bounded = critical_batch_told(found)
        best = hyper.batch(sizes[found.curve.params], found.curve.tokens)
        told += f" The batch of the lowest decayed loss there: {best.value:.3g} tokens."
        findings.append(Finding("critical-batch" if bounded else UNIDENTIFIED, Severity.INFO, told))
    return findings


def critical_batch_told(found: Reached) -> tuple[str, bool]:
    """Say which batch is critical, and whether the steps bound it from both sides."""
    curve = found.curve
    told = (
        f"At {format_count(curve.params)} parameters a loss of {found.loss:.3g} took "
        + ", ".join(f"{s:.0f}" for s in curve.steps)
        + " steps at constant learning rates and batches of "
        + ", ".join(f"{b:.0f}" for b in curve.batch_tokens)
        + " tokens"
    )
    fit = fit_hyperbola(curve)
    critical = fit.critical(HYPERBOLA)
    count = partial(format_count, digits=2)
    below, above = fit.bounded
    if below and above:
        told += (
            f": the critical batch is {count(critical.value)} tokens [{count(critical.low)}, "
            f"{count(critical.high)}], where a run takes twice the fewest steps and twice the "
            "fewest tokens there can be; beyond it more batch saves few steps."
        )
    elif below:
        told += f": the critical batch lies above {count(critical.low)} tokens; try larger batches."
    elif above:
        told += (
            f": the critical batch lies below {count(critical.high)} tokens; try smaller batches."
        )
    else:
        told += ": they bound no critical batch."
    return told, below and above


def _norms(path: Path, run: Run) -> GradientNorms:
    """Read the measurements of one run; examples are tokens, their noise that of whole batches."""
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=list(COLUMNS))
    small, big = (table.column(name).to_numpy().astype(np.float64) for name in COLUMNS)
    told = np.isfinite(small) & np.isfinite(big)
    return GradientNorms(
        small[told], big[told], run.metrics["batch_small"], run.metrics["batch_big"], 1.0
    )
