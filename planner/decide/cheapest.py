"""The cheapest run that reaches a loss, counting what serving the model will cost (Sardana 2024).

    minimise  F(N) D + F(N)/3 D_inference   subject to  L(N, D) = loss

A forward pass costs a third of a training step. Without inference this is the cheapest way to a
loss; with it the optimum moves to smaller models on more tokens.
"""

from __future__ import annotations

import numpy as np

from planner.decide.allocate import Candidate, candidate
from planner.decide.sizes import Family, ladder
from planner.decide.split import point_loss
from planner.fit.loss_fit import LossFit

FORWARD = 1 / 3
"""A forward pass over the FLOPs of a training step."""

SPAN = (1 / 300, 30.0)
"""Sizes looked at, as factors of a known good one."""

REACH, HALVINGS = 12.0, 60
"""The tokens are bisected within e^+-12 of a known good number."""


def cheapest(
    fit: LossFit,
    loss_nats: float,
    family: Family,
    near: tuple[float, float],
    inference_tokens: float = 0.0,
) -> Candidate | None:
    """Return the cheapest buildable run that reaches ``loss_nats``; None when none does.

    ``near`` is a (params, tokens) of about that loss.
    """
    span = (near[0] * SPAN[0], near[0] * SPAN[1])
    rungs = ladder(family, span, fit.n_convention, fit.flops_convention)
    low = np.full(len(rungs.params), np.log(near[1]) - REACH)
    high = low + 2 * REACH
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        enough = point_loss(fit, rungs.params, np.exp(middle)) <= loss_nats
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    tokens = np.exp(high)
    reached = point_loss(fit, rungs.params, tokens) <= loss_nats
    if not reached.any():
        return None
    total = rungs.flops_per_token * (tokens + FORWARD * inference_tokens)
    best = int(np.argmin(np.where(reached, total, np.inf)))
    return candidate(fit, rungs, best, float(tokens[best]))
