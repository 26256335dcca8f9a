"""Other ways to meet an objective: the optimum, a smaller model to serve, a cheaper near miss."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from planner.decide.allocate import Allocation, Candidate, Caps, allocate, predicted_loss
from planner.decide.cheapest import cheapest
from planner.decide.sizes import Family
from planner.decide.split import point_loss
from planner.errors import EvidenceError, UsageError
from planner.fit.loss_fit import LossFit
from planner.plan.cost import cost_of
from planner.plan.objective import Objective
from planner.plan.plan import Alternative
from planner.units import format_count

NEAR_MISS = 1.005
"""Loss of the cheapest near miss over the plan's."""

SMALLER = 0.5
"""Largest size to serve over the optimum, where nobody says how much it will serve."""


def alternatives(
    fit: LossFit, objective: Objective, chosen: Allocation, family: Family
) -> tuple[Alternative, ...]:
    """Return the alternatives that exist: compute-optimal, for serving, near miss."""
    made = []
    for name, why, run in _runs(fit, objective, chosen, family):
        cost = cost_of(run.flops, objective.machine) if objective.machine else None
        made.append(
            Alternative(
                name=name,
                why=why,
                shape=run.shape.to_json() if run.shape else None,
                params=run.params,
                tokens=run.tokens,
                flops=run.flops,
                loss_nats=predicted_loss(fit, run),
                gpu_hours=cost.gpu_hours.value if cost else None,
                usd=cost.usd.value if cost and cost.usd else None,
            )
        )
    return tuple(made)


def _runs(
    fit: LossFit, objective: Objective, chosen: Allocation, family: Family
) -> Iterator[tuple[str, str, Candidate]]:
    if best := _best(fit, objective.flops or chosen.flops, family, Caps()):
        why = "the lowest loss for this compute, whatever the caps and the cost of serving"
        yield "compute-optimal", why, best
    near = chosen.params, chosen.tokens
    reached = float(point_loss(fit, np.array(near[:1]), np.array(near[1:]))[0])
    served = objective.inference_tokens
    if served:
        why = f"the least training and serving of {format_count(served)} tokens for the same loss"
        smaller = cheapest(fit, reached, family, near, served)
    else:
        why = "half the size or less for the same compute: cheaper to serve"
        smaller = _best(fit, chosen.flops, family, Caps(max_params=SMALLER * chosen.params))
    if smaller and smaller.params < chosen.params:
        yield "smaller for serving", why, smaller
    if cheaper := cheapest(fit, NEAR_MISS * reached, family, near):
        yield "cheapest within 0.5 % of the loss", "the least compute for a near miss", cheaper


def _best(fit: LossFit, flops: float, family: Family, caps: Caps) -> Candidate | None:
    try:
        found = allocate(fit, flops, family, caps)
    except (EvidenceError, UsageError):
        return None
    return min(found.candidates, key=lambda candidate: candidate.loss_nats)
