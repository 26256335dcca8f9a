"""The sections about the loss law: what was fitted, and the prediction before the run."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from planner.estimate import Estimate
from planner.fit.loss_fit import LossFit
from planner.fit.registry import law_named
from planner.report import text
from planner.report.content import Block, Paragraph, Picture, Section, Table
from planner.report.first_page import outcome
from planner.report.study import ReportInput

MEANING: Mapping[str, str] = {
    "E": "loss no size and no amount of data removes (nats per token)",
    "A": "weight of the size term",
    "B": "weight of the data term",
    "alpha": "exponent of size",
    "beta": "exponent of data",
    "R_D": "repeats of the data over which a repeat's worth fades",
    "R_N": "parameters beyond what the data can fill, likewise",
}


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
