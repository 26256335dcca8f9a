"""What would change the answer: the share of each doubt in the variance of loss, size and cost.

Var[loss] = law (draws, between laws) + discrepancy beyond the data + run-to-run noise
            + misplaced learning rate, 3 k^2 sd^4 for a normal error of ln lr
"""

from __future__ import annotations

import numpy as np

from planner.arrays import Floats
from planner.decide.allocate import Allocation
from planner.decide.rules import Z90
from planner.estimate import Estimate
from planner.fit.loss_fit import LossFit
from planner.plan.plan import Cost, Share

LAW = "the law's exponents and scale (statistical)"
DISCREPANCY = "the law itself beyond the largest run (discrepancy)"
NOISE = "run-to-run noise"
LEARNING_RATE = "a misplaced learning rate"


def loss_shares(
    fit: LossFit, chosen: Allocation, lr: Estimate | None, curvature: float
) -> list[Share]:
    """Return the shares in the variance of the target's loss, largest first."""
    total = target_draws(fit, chosen, chosen.flops).var()
    law = min(total, target_draws(fit, chosen, fit.range.flops[1]).var())
    sd = log_sd(lr) if lr else 0.0
    return _shares(
        "loss",
        {
            LAW: float(law),
            DISCREPANCY: float(total - law),
            NOISE: (fit.sigma * chosen.loss.value) ** 2,
            LEARNING_RATE: 3 * curvature**2 * sd**4,
        },
    )


def cost_shares(cost: Cost | None) -> list[Share]:
    """Return the shares of MFU and price in the variance of ln cost; none where both are given."""
    if cost is None:
        return []
    bands = {"model FLOPs utilisation": cost.mfu, "price per GPU-hour": cost.price_usd_per_gpu_hour}
    return _shares("cost", {what: log_sd(band) ** 2 for what, band in bands.items() if band})


def target_draws(fit: LossFit, chosen: Allocation, flops: float) -> Floats:
    """Return draws (S,) of the target's mean loss with the discrepancy of a run of ``flops``."""
    at = np.array([chosen.params]), np.array([chosen.tokens])
    return fit.loss_draws(*at, np.array([flops]))[:, 0]


def log_sd(estimate: Estimate) -> float:
    """Return the sd of ln x of an estimate at 90 %; zero for a chosen number."""
    return float(np.log(estimate.high / estimate.low)) / (2 * Z90)


def _shares(quantity: str, variances: dict[str, float]) -> list[Share]:
    total = sum(variances.values())
    if total <= 0:
        return []
    shares = [Share(quantity, what, value / total) for what, value in variances.items() if value]
    return sorted(shares, key=lambda share: -share.share)
