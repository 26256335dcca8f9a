"""Findings a plan adds to the fits': another target, short data, assumed figures, a wide optimum.

Repeats of unique tokens (Muennighoff 2023, models up to 9B): up to 4 epochs as good as fresh, value
gone by about 16.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from planner.decide.allocate import FRESH_EPOCHS, Allocation
from planner.decide.sizes import BlackBox, Family
from planner.estimate import Estimate
from planner.finding import Finding, Severity
from planner.fit.loss_fit import LossFit
from planner.plan.objective import Objective
from planner.plan.sensitivity import log_sd
from planner.shape import ShapeFamily
from planner.units import format_count

SPENT_EPOCHS = 16.0
"""Epochs after which repeated tokens teach nothing more."""

UNSPENT = 0.95
"""Share of the budget below which a capped plan says that it leaves money."""

WIDE_SIZE = 10.0
"""Ratio of the ends of N*'s interval from which on the size counts as undetermined."""

FLAT_SHAPE = 512.0
"""Width per layer beyond which a fixed depth makes an unusual target (published: 40 to 200)."""

SMALLEST_NAMED = 1e7
"""Largest fitted size from which on a plain table's plan names a shape of TRANSFORMER."""

COSTLY_LR = 0.02
"""Expected regret of the learning rate (nats) from which on the plan warns."""

TRANSFORMER = ShapeFamily(vocab=32_000, context=2048, head_dim=64, aspect=128.0)
"""The family a plan names its shape from when a plain table knows of no shapes."""


def plan_findings(
    fit: LossFit,
    objective: Objective,
    chosen: Allocation,
    family: Family | None,
    facts: Mapping[str, Any],
) -> tuple[Finding, ...]:
    """Return what is doubtful about planning this objective from this fit."""
    return (
        *_differences(facts, objective.facts),
        *_data(objective, chosen),
        *_assumptions(fit, objective, chosen, family),
        *_width(chosen),
    )


def _differences(proxies: Mapping[str, Any], target: Mapping[str, Any]) -> Iterator[Finding]:
    """Compare what the target states of itself with what the proxies were trained with."""
    for name, wanted in target.items():
        if name not in proxies:
            what = f"The target's {name} is {wanted}; what the proxies had is not known."
        elif proxies[name] != wanted:
            what = f"The target's {name} is {wanted}, the proxies' was {proxies[name]}."
        else:
            continue
        remedy = f"a ladder trained with the target's {name}"
        what += " The law and its optima hold for what the proxies were trained with."
        yield Finding(f"other-{name}", Severity.WARNING, what, remedy)


def _data(objective: Objective, chosen: Allocation) -> Iterator[Finding]:
    unique = objective.caps.unique_tokens
    epochs = chosen.tokens / unique if unique else 0.0
    if epochs > 1:
        severity, then = Severity.INFO, "up to 4 epochs repeated tokens are as good as fresh"
        if epochs > SPENT_EPOCHS:
            severity, then = Severity.BLOCKING, "beyond 16 epochs repeats teach nothing more"
        elif epochs > FRESH_EPOCHS * 1.001:
            severity, then = Severity.WARNING, "beyond 4 epochs repeats are worth less than fresh"
        what = f"The plan trains {epochs:.2g} epochs; {then}."
        yield Finding("repeated-data", severity, what, "more unique tokens, or a larger model")
    if objective.flops and chosen.flops < UNSPENT * objective.flops:
        yield Finding(
            "budget-unspent",
            Severity.WARNING,
            f"The caps leave {1 - chosen.flops / objective.flops:.0%} of the compute unspent.",
            "allow more parameters or more tokens",
        )


def _assumptions(
    fit: LossFit, objective: Objective, chosen: Allocation, family: Family | None
) -> Iterator[Finding]:
    machine = objective.machine
    if machine and machine.mfu_source == "assumed":
        what = f"MFU was not stated: {machine.mfu.value:.2f} [{machine.mfu.low:.2f}, "
        what += f"{machine.mfu.high:.2f}] is assumed."
        yield Finding("assumed-mfu", Severity.INFO, what, "50 steps on the target machine; --mfu")
    if machine and machine.price_source.startswith("assumed"):
        what = f"The price of a GPU-hour is {machine.price_source}."
        yield Finding("assumed-price", Severity.INFO, what, "--price with your own quote")
    if family is None and chosen.shape:
        what = (
            f"The table knows of no shapes; the plan names one of a usual family (vocabulary "
            f"{TRANSFORMER.vocab}, context {TRANSFORMER.context}, {TRANSFORMER.aspect:g} wide per "
            "layer)."
        )
        yield Finding("assumed-family", Severity.INFO, what, "take the size, choose your own shape")
    if chosen.shape and fit.flops_convention == "6ND":
        more = chosen.size.flops(chosen.tokens) / chosen.flops - 1
        what = f"C counts 6 N D, as the table does; the named shape takes {more:.0%} more in all."
        yield Finding("flops-6nd", Severity.INFO, what, "a table with counted FLOPs")
    if fit.n_convention == "unspecified":
        what = "The table does not say which parameters it counts; they are taken for the total."
        yield Finding("params-unspecified", Severity.INFO, what, "name the column params_total")


def _width(chosen: Allocation) -> Iterator[Finding]:
    size, shape = chosen.params_estimate, chosen.shape
    if size.high > WIDE_SIZE * size.low:
        yield Finding(
            "size-undetermined",
            Severity.WARNING,
            f"The best size lies anywhere between {format_count(size.low, 2)} and "
            f"{format_count(size.high, 2)} parameters (90 %).",
            "a ladder with sizes on both sides of the optimum at two larger compute levels",
        )
    if shape and shape.width > FLAT_SHAPE * shape.layers:
        yield Finding(
            "unusual-shape",
            Severity.WARNING,
            f"The ladder kept one depth, so the target has {shape.layers} layers of width "
            f"{shape.width}; a usual shape of this size is deeper and was not measured.",
            "a ladder whose depth grows with its width",
        )


def lr_finding(lr: Estimate, curvature: float) -> tuple[Finding, ...]:
    """Say so where the learning rate is so uncertain that it costs more than it need.

    ``curvature`` is k of the basin in nats; the expected regret of a normal error is k sd^2.
    """
    sd = log_sd(lr)
    if curvature * sd**2 <= COSTLY_LR:
        return ()
    what = (
        f"The learning rate is known to a factor of {np.exp(sd):.2g} (one sd); misplacing it by "
        f"that costs about {curvature * sd**2:.2g} nats (the predicted loss holds that)."
    )
    remedy = "three learning rates at a larger size and horizon, or at the start of the run itself"
    return (Finding("lr-uncertain", Severity.WARNING, what, remedy),)


def family_for(family: Family | None, fit: LossFit) -> Family:
    """Return the family to build from: the ladder's, or for a plain table the usual one.

    A table of tiny models gets a parameter count alone: a usual vocabulary would swallow it.
    """
    if family is not None:
        return family
    return TRANSFORMER if fit.range.params[1] >= SMALLEST_NAMED else BlackBox()


def min_batch_tokens(family: Family) -> int:
    """Return the smallest batch: one sequence, or one token for a black box."""
    return 1 if isinstance(family, BlackBox) else family.context
