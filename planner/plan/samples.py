"""A plan for a data set of a fixed size: how often it is gone through, in how many steps.

    epochs = D / U,   steps = D / B         U distinct samples (images), known to the fitted law

The law answers for U itself, so no limit on epochs is assumed. Accuracy is never extrapolated: the
predicted cross-entropy is, and a monotone map turns its draws into accuracies.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from planner.arrays import Floats
from planner.decide.allocate import Allocation
from planner.decide.decision import Decision
from planner.estimate import Estimate
from planner.fit.error_map import ErrorMap
from planner.fit.loss_fit import LossFit
from planner.plan.objective import Objective
from planner.units import format_count


def on_own_data(fit: LossFit, objective: Objective) -> tuple[LossFit, Objective]:
    """Return the law for the target's data, and the objective less a limit the law answers for.

    Nothing changes where the law was fitted to fresh data alone.
    """
    if fit.unique_tokens is None:
        return fit, objective
    unique = objective.caps.unique_tokens or fit.unique_tokens
    caps = replace(objective.caps, unique_tokens=None)
    return replace(fit, unique_tokens=unique), replace(objective, caps=caps)


def passes(unique: float | None, chosen: Allocation, batch_tokens: float) -> tuple[Decision, ...]:
    """Return the decisions on epochs and steps of a run on ``unique`` tokens; none if unknown."""
    if unique is None:
        return ()
    tokens = chosen.tokens_estimate
    epochs = Estimate(
        chosen.tokens / unique, tokens.low / unique, tokens.high / unique, tokens.level, "tokens"
    )
    why = (
        f"The {format_count(chosen.tokens)} tokens over the {unique:,.0f} different ones there "
        "are; what a repeat is worth is part of the fitted law."
    )
    steps = Estimate.exactly(chosen.tokens // batch_tokens, "tokens over batch")
    return (
        Decision("epochs", epochs, "passes over the data", why),
        Decision("steps", steps, "optimizer steps", f"Tokens over a batch of {batch_tokens:,.0f}."),
    )


def accuracy_decision(mapped: ErrorMap | None, loss: Floats) -> tuple[Decision, ...]:
    """Return the accuracy that goes with draws of the loss, shape (S,); none without a map."""
    if mapped is None:
        return ()
    errors = mapped.error_draws(loss[:, None])[:, 0]
    noise = mapped.sigma * np.random.default_rng(0).standard_normal(len(errors))
    where = "among" if mapped.span[0] <= np.median(loss) else "beyond"
    estimate = Estimate.from_draws(
        np.clip(1.0 - errors - noise, 0.0, 1.0), method="cross-entropy through a monotone map"
    )
    why = (
        "The predicted cross-entropy through a monotone map of error against cross-entropy, "
        f"{where} those of the runs it was fitted to: {mapped.why}."
    )
    return (Decision("accuracy", estimate, "share of validation images", why),)
