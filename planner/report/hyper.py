"""The section on learning rate and batch: the laws, whose data they rest on, the cost of a miss."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from planner.fit.hyper_fit import HyperFit
from planner.fit.lr_forms import SATURATING
from planner.fit.optimum import moments
from planner.fit.priors import PUBLISHED_FLOPS, SMALL_PARAMS, Normal
from planner.fit.priors_unpublished import owes_nothing
from planner.report import text
from planner.report.content import Block, Paragraph, Picture, Section, Table
from planner.report.figures.surface import Surface
from planner.report.study import ReportInput
from planner.run import Status
from planner.shape import Size

MISSES = (0.25, 0.5, 2.0, 4.0)
"""Factors by which the table of costs is off the best learning rate or batch."""
FAR = 10.0
"""Computes further apart than this are not read off the slope at the planned run."""
Z90 = 1.6448536269514722
MEANING: Mapping[str, str] = {
    "level": "a: learning rate at the anchor, large batches",
    "size_slope": "p: exponent of size",
    "token_slope": "q: exponent of tokens",
    "noise_batch": "b: batch at which it saturates (tokens)",
    "noise_batch_slope": "g: exponent of that batch in tokens",
    "batch_exponent": "m: exponent of the batch",
    "batch": "c: best batch at the anchor (tokens)",
    "batch_slope": "r: exponent of the best batch in tokens",
}
WITNESSES = ("critical-batch", "noise-scale")
"""Findings that speak of the batch from other evidence than losses."""
LEVELS = ("level", "noise_batch", "batch")
"""Parameters fitted as logarithms and shown as themselves."""


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
        f"{text.percent(hyper.own_share)} of what is known about learning rates and "
        f"{text.percent(hyper.own_share_batch)} of what is known about batches comes from this "
        f"study ({text.plural(len(hyper.cells), 'cell')}), the rest from {_believed(hyper)}."
    )
    blocks: list[Block] = [Paragraph(f"{share} {noise}{_diverged(study)}")]
    blocks += [Paragraph(_laws_intro(hyper), "The laws."), _laws(hyper)]
    if told := [f.what for f in study.plan.findings if f.code.startswith(WITNESSES)]:
        blocks.append(Paragraph(" ".join(told), "Other witnesses of the batch."))
    blocks += [Paragraph(_wrong_intro(hyper), "The cost of being wrong."), _wrong(study, hyper)]
    return Section("Learning rate and batch", (*blocks, *shown))


def _believed(hyper: HyperFit) -> str:
    if owes_nothing(hyper.prior):
        return f"wide beliefs ({hyper.prior.source})"
    span = f"{text.power_of_ten(PUBLISHED_FLOPS[0])} to {text.flops(PUBLISHED_FLOPS[1])}"
    return f"published runs ({hyper.prior.source}; {span})"


def _diverged(study: ReportInput) -> str:
    """Say how diverged trials entered; nothing where none did."""
    swept = study.in_stage("lr_batch", "seeds", "confirm", "design")
    lost = sum(run.status is Status.DIVERGED for run in swept)
    if not lost:
        return ""
    return (
        f" {lost} of {text.plural(len(swept), 'swept trial')} diverged: their losses count as "
        "bounds, no lower than the best of their cell."
    )


def _laws_intro(hyper: HyperFit) -> str:
    size, tokens, _ = hyper.lr_law.anchor
    batch = "/ (1 + b (D/D0)^g / B)" if hyper.lr_law.form is SATURATING else "(B/B0)^m"
    return (
        f"Best learning rate a (N/N0)^p (D/D0)^q {batch} of N parameters, D tokens and batch B; "
        f"best batch c (D/D0)^r; the anchor is N0 = {text.count(size)}, D0 = {text.count(tokens)}. "
        "A learning rate is moved to another D only together with its batch: at a fixed one it "
        f"goes as {_at_fixed_batch(hyper)}. Predictions add the scatter of single cells "
        f"({hyper.lr_law.scatter:.2g} of ln lr) and {hyper.prior.lr_drift:.2g} for every decade of "
        f"compute beyond the cells.{_widened(hyper)}"
    )


def _at_fixed_batch(hyper: HyperFit) -> str:
    """Say how the learning rate moves with tokens at a fixed batch."""
    theta = dict(zip(hyper.lr_law.form.parameters, hyper.lr_law.mean, strict=True))
    slope = theta["token_slope"]
    if hyper.lr_law.form is not SATURATING:
        return f"D^{slope:.2f}"
    return f"D^{slope - theta['noise_batch_slope']:.2f} (small ones) to D^{slope:.2f} (large ones)"


def _widened(hyper: HyperFit) -> str:
    if hyper.prior.params >= SMALL_PARAMS or owes_nothing(hyper.prior):
        return ""
    return (
        f" Below {text.count(SMALL_PARAMS)} parameters published laws are extrapolations, so their "
        "beliefs are widened."
    )


def _laws(hyper: HyperFit) -> Table:
    """Set each parameter's published belief beside what it became, and the share of own data."""
    law, prior = hyper.lr_law, hyper.prior
    rows = []
    for i, one in enumerate(law.form.beliefs(prior)):
        own = Normal(float(law.mean[i]), float(np.sqrt(law.covariance[i, i])))
        rows.append(_law_row(law.form.parameters[i], one, own))
    even = np.full(len(hyper.batch_law.level), 1 / len(hyper.batch_law.level))
    for name, one, points in (
        ("batch", prior.batch, hyper.batch_law.level),
        ("batch_slope", prior.batch_slope, hyper.batch_law.slope),
    ):
        rows.append(_law_row(name, one, Normal(*moments(points, even))))
    belief = "Belief before" if owes_nothing(prior) else "Published belief"
    head = ("Parameter", f"{belief}, 90 %", "With own runs, 90 %", "Share from own runs")
    return Table(head, tuple(rows))


def _law_row(name: str, belief: Normal, own: Normal) -> tuple[str, ...]:
    share = float(np.clip(1 - (own.sd / belief.sd) ** 2, 0.0, 1.0))
    return MEANING[name], _ranged(name, belief), _ranged(name, own), text.percent(share)


def _ranged(name: str, value: Normal) -> str:
    ends = np.array([value.mean, value.mean - Z90 * value.sd, value.mean + Z90 * value.sd])
    middle, low, high = (text.number(float(v)) for v in (np.exp(ends) if name in LEVELS else ends))
    return f"{middle} [{low}, {high}]"


def _wrong_intro(hyper: HyperFit) -> str:
    carried = (
        f" (which go as (N D)^{hyper.depth_slope:.2f}: a lower loss has less to lose)"
        if hyper.depth_slope
        else ""
    )
    return (
        "What the loss loses when learning rate or batch miss their best value by a factor, with "
        f"the curvatures measured here{carried}, and how much of the planned run's compute that "
        "wastes."
    )


def _wrong(study: ReportInput, hyper: HyperFit) -> Table:
    plan = study.plan
    slope = Surface.of(study.fit, plan, study.fitted).slope(plan.flops)
    depth = hyper.depth(Size(**plan.size), plan.decision("tokens").estimate.value)
    rows = []
    for what, regret in (("Learning rate", hyper.regret), ("Batch", hyper.batch_regret)):
        for factor in MISSES:
            nats = regret(float(np.log(factor)), depth)
            off = f"{factor:g} x the best"
            rows.append((what, off, f"{nats:.4f}", _made_up(float(np.exp(nats / slope)))))
    head = ("What", "Setting", "Loss given up (nats)", "More compute that would make up for it")
    return Table(head, tuple(rows))


def _made_up(factor: float) -> str:
    """Write a ratio of computes; far off, the slope it was taken from no longer holds."""
    if factor > FAR:
        return f"more than {text.times(FAR)}"
    return text.percent(factor - 1) if factor < 2 else text.times(factor)
