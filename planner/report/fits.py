"""The sections about the fits: loss law, learning rate and batch, prediction before the run."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from planner.estimate import Estimate
from planner.fit.loss_fit import LossFit
from planner.fit.registry import law_named
from planner.fit.transfer import HyperFit
from planner.report import text
from planner.report.content import Block, Paragraph, Picture, Section, Table
from planner.report.figures.surface import Surface
from planner.report.first_page import outcome
from planner.report.study import ReportInput

MEANING: Mapping[str, str] = {
    "E": "loss no size and no amount of data removes (nats per token)",
    "A": "weight of the size term",
    "B": "weight of the data term",
    "alpha": "exponent of size",
    "beta": "exponent of data",
}
MISSES = (0.25, 0.5, 2.0, 4.0)
"""Factors by which the table of costs is off the best learning rate or batch."""
FAR = 10.0
"""Computes further apart than this are not read off the slope at the planned run."""


def loss_law(study: ReportInput, pictures: Mapping[str, Picture]) -> Section:
    """Return the loss law: parameters with intervals, how well it fits, how far it is trusted."""
    fit = study.fit
    opening = (
        f"Expected loss of N parameters and D tokens: L = {law_named(fit.law).formula}. Form: "
        f"{fit.law}, fitted by {fit.method}; status: {fit.status}. The robust standard deviation "
        f"of the residuals is {text.percent(fit.sigma)} of the loss."
    )
    widened = (
        f" A missed held-out prediction widened this by {text.times(fit.discrepancy.factor)}."
        if fit.discrepancy.factor > 1
        else ""
    )
    doubt = (
        "Beyond the largest fitted run every decade of compute adds a scale of "
        f"{text.percent(fit.discrepancy.loss_per_decade)} of the reducible loss (loss - E) and of "
        f"{fit.discrepancy.ln_n_per_decade:.2g} in the logarithm of the best size, with the tails "
        f"of Student's t ({fit.discrepancy.freedom:g} degrees of freedom). The bend of the best "
        "size inside the data moves that logarithm by "
        f"{fit.discrepancy.ln_n_drift:+.2g} in the first decade.{widened}"
    )
    ranges = np.quantile(fit.draws, [0.05, 0.95], axis=0)
    rows = tuple(
        (name, _parameter(fit.params[name], ranges[:, i]), MEANING.get(name, ""))
        for i, name in enumerate(fit.names)
    )
    table = Table(("Parameter", "Value and 90 % statistical interval", "Meaning"), rows)
    shown = (pictures[name] for name in ("loss-compute", "loss-size", "residuals"))
    blocks = (Paragraph(opening), table, *_members(fit), Paragraph(doubt), *shown)
    return Section("Loss law", blocks)


def _members(fit: LossFit) -> tuple[Block, ...]:
    """Say which forms share the prediction, and how each did on runs larger than it had seen."""
    if len(fit.members) == 1:
        return ()
    said = (
        "No single form is known to be right beyond the data, so predictions average the forms by "
        "how well each, fitted to the smaller runs alone, predicted the larger ones."
    )
    rows = tuple(
        (member.law, law_named(member.law).formula, text.percent(member.weight),
         "too few runs" if np.isnan(member.held_out) else text.percent(member.held_out))
        for member in fit.members
    )  # fmt: skip
    head = ("Form", "Loss", "Weight", "Held-out error of the loss")
    return (Paragraph(said, "Between laws."), Table(head, rows))


def hyperparameters(study: ReportInput, pictures: Mapping[str, Picture]) -> Section:
    """Return learning rate and batch: what was found, and what it costs to be wrong."""
    shown = (pictures["lr-basins"], pictures["lr-batch-laws"])
    if study.hyper is None:
        return Section("Learning rate and batch", shown)
    hyper = study.hyper
    noise = (
        f"One run's loss scatters by {hyper.sigma_seed:.4f} nats from seed to seed"
        + (f" ({text.plural(hyper.seed_noise.df, 'degree')} of freedom measured)." if
           hyper.seed_noise else " (assumed: no trial was repeated with another seed).")
    )  # fmt: skip
    share = (
        f"{text.percent(hyper.own_share)} of what is known about learning rates comes from this "
        f"study ({text.plural(len(hyper.cells), 'cell')}), the rest from published runs."
    )
    blocks: list[Block] = [Paragraph(f"{share} {noise}")]
    blocks += [Paragraph(_wrong_intro(), "The cost of being wrong."), _wrong(study, hyper)]
    return Section("Learning rate and batch", (*blocks, *shown))


def prediction(study: ReportInput, pictures: Mapping[str, Picture]) -> Section:
    """Return the prediction written before the held-out rung, beside what was measured."""
    title = "Prediction before the run"
    written, judged = study.prediction, study.judgement
    if written is None:
        return Section(title, (Paragraph(outcome(study)),))
    measured = {run.size.params_matmul: run for run in study.in_stage("held_out") if run.done}
    rows = []
    for i, rung in enumerate(written.rungs):
        run = measured.get(rung.params)
        errors = ("", "") if judged is None else (
            f"{judged.error_percent[i]:+.2f}", f"{judged.compute_equivalent[i]:.2f}",
        )  # fmt: skip
        rows.append((
            text.count(rung.params), text.count(rung.tokens), text.estimate(rung.loss),
            text.interval(rung.loss98).removesuffix(" (98 %)"),
            f"{run.loss:.4f}" if run else "not measured",
            *errors, text.percent(written.p_win[i]),
        ))  # fmt: skip
    head = ("Parameters", "Tokens", "Predicted loss, 90 %", "98 %", "Measured", "Error (%)",
            "C-equivalent", "Chance to win")  # fmt: skip
    origin = (
        f"These losses were written down at ledger state {written.ledger_hash}, before any of the "
        f"runs at {text.flops(written.flops)} was started."
    )
    table = Table(head, tuple(rows))
    blocks = (Paragraph(origin), table, Paragraph(outcome(study)), pictures["held-out"])
    return Section(title, blocks)


def _parameter(value: float, ends: np.ndarray) -> str:
    low, high = min(float(ends[0]), value), max(float(ends[1]), value)
    return text.estimate(Estimate(value, low, high))


def _wrong_intro() -> str:
    return (
        "What the loss loses when learning rate or batch miss their best value by a factor, with "
        "the curvatures measured here, and how much of the planned run's compute that wastes."
    )


def _wrong(study: ReportInput, hyper: HyperFit) -> Table:
    slope = _slope(study)
    rows = []
    for what, regret in (("Learning rate", hyper.regret), ("Batch", hyper.batch_regret)):
        for factor in MISSES:
            nats = regret(float(np.log(factor)))
            off = f"{factor:g} x the best"
            rows.append((what, off, f"{nats:.4f}", _made_up(float(np.exp(nats / slope)))))
    head = ("What", "Setting", "Loss given up (nats)", "More compute that would make up for it")
    return Table(head, tuple(rows))


def _made_up(factor: float) -> str:
    """Write a ratio of computes; far off, the slope it was taken from no longer holds."""
    if factor > FAR:
        return f"more than {text.times(FAR)}"
    return text.percent(factor - 1) if factor < 2 else text.times(factor)


def _slope(study: ReportInput) -> float:
    """Return -dL/dlnC along the frontier at the planned compute (nats)."""
    surface = Surface.of(study.fit, study.plan, study.fitted)
    flops = study.plan.flops * np.array([1 / 1.1, 1.1])
    sizes = surface.frontier(flops)
    losses = surface.loss(sizes, surface.tokens(sizes, flops))
    return float((losses[0] - losses[1]) / (2 * np.log(1.1)))
