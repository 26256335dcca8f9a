"""The gradient noise scale that a study's runs measured, beside the batch they recommend.

The dearest finished run that measured gradient norms speaks for the study: its noise scale is held
against the fitted best batch at its own size and horizon. It is a second witness and decides
nothing (:mod:`planner.fit.noise_scale`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from planner.finding import Finding, Severity
from planner.fit.noise_scale import GradientNorms, noise_scale, noise_scale_against
from planner.fit.transfer import HyperFit
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


def _norms(path: Path, run: Run) -> GradientNorms:
    """Read the measurements of one run; examples are tokens, their noise that of whole batches."""
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=list(COLUMNS))
    small, big = (table.column(name).to_numpy().astype(np.float64) for name in COLUMNS)
    told = np.isfinite(small) & np.isfinite(big)
    return GradientNorms(
        small[told], big[told], run.metrics["batch_small"], run.metrics["batch_big"], 1.0
    )
