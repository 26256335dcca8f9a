"""What is still doubtful at the target after a round: what the FLOPs so far have bought.

    regret = E[loss at the recommended lr and batch - loss at the best]      nats, at the target
    loss   = the law's predictive 90 % interval at N*(C), D*(C)              nats, at the target
    N*     = its interval

A round is worth what it takes off these. The target's size is the law's N*, and 20 tokens per
parameter while there is no law.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from planner.decide.hyper import rung_hyper
from planner.estimate import Estimate
from planner.fit.hyper_fit import HyperFit
from planner.fit.loss_fit import LossFit
from planner.shape import Size

TOKENS_PER_PARAM = 20.0
"""Where the target is judged while no law says better (Hoffmann 2022)."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The doubt left at the target; ``loss`` and ``params`` are None until a law holds."""

    regret_nats: float
    loss: Estimate | None = None
    params: Estimate | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Standing:
        """Read it back from plain data."""
        loss, params = (Estimate(**data[n]) if data.get(n) else None for n in ("loss", "params"))
        return cls(float(data["regret_nats"]), loss, params)


def standing(hyper: HyperFit, fit: LossFit | None, flops: float) -> Standing:
    """Return what the fits leave in doubt about a target of ``flops``; None: there is no law."""
    loss = params = None
    best = math.sqrt(flops / (6 * TOKENS_PER_PARAM))
    if fit is not None:
        params = Estimate.from_draws(fit.optimal_params_draws(flops), method="predictive")
        best = params.value
        (loss,) = fit.predict(np.array([best]), np.array([flops / (6 * best)]))
    size, tokens = Size(best, best, best, 6 * best), flops / (6 * best)
    rung = rung_hyper(hyper, size, tokens, min_batch_tokens=1)
    draws = hyper.regret_draws(size, tokens, rung.batch_tokens, rung.lr)
    return Standing(float(draws.mean()), loss, params)
