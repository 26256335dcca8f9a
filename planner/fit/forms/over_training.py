"""The over-training law: the loss at a compute C and a ratio M of tokens to parameters.

    over-training   L = E + (a M^eta + b M^-eta) C^-eta,      M = D / N,  C = 6 N D

Gadre et al. 2024 ("Language models scale reliably with over-training"). It is the law with tied
exponents in other words: alpha = beta = 2 eta, A = a 6^-eta, B = b 6^-eta, so both predict the same
and only one of them belongs in an average. Held: N 11M-6.9B, M 5-640, where it foretold the loss of
a 1.4B model at M = 640 to .7 % and of a 6.9B model at M = 20 to .7 %.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.arrays import Floats
from planner.fit.forms.common import row
from planner.fit.laws import CHINCHILLA_TIED
from planner.fit.points import Points


@dataclass(frozen=True)
class OverTraining:
    """E + (a M^eta + b M^-eta) C^-eta."""

    name: str = "over-training"
    formula: str = "E + (a M^eta + b M^-eta) C^-eta, M = D/N"
    names: tuple[str, ...] = ("E", "a", "b", "eta")
    n_free: int = 4
    least_rows: int = 5
    extra: str = ""

    def predict(
        self, theta: Floats, params: Floats, tokens: Floats, extra: Floats | None = None
    ) -> Floats:
        """Return losses in nats per token, shape (..., n)."""
        return CHINCHILLA_TIED.predict(_tied(theta), params, tokens)

    def gradient(
        self, theta: Floats, params: Floats, tokens: Floats, extra: Floats | None = None
    ) -> Floats:
        """Return dL/d(E, a, b, eta), shape (..., n, 4)."""
        tied = _tied(theta)
        inner = CHINCHILLA_TIED.gradient(tied, params, tokens)
        size, data = inner[..., 1] * row(tied, 1), inner[..., 2] * row(tied, 2)
        by_eta = 2 * (inner[..., 3] + inner[..., 4]) - np.log(6.0) * (size + data)
        slopes = [inner[..., 0], size / row(theta, 1), data / row(theta, 2), by_eta]
        return np.stack(slopes, axis=-1)

    def floor(self, theta: Floats, params: Floats) -> Floats:
        """Return E at every point, shape (..., n)."""
        return CHINCHILLA_TIED.floor(theta, params)

    def optimal_params(self, theta: Floats, flops: float) -> Floats:
        """Return N*(C), in closed form: M* = (b/a)^(1/(2 eta)) whatever the compute."""
        return CHINCHILLA_TIED.optimal_params(_tied(theta), flops)

    def box(self, points: Points) -> tuple[Floats, Floats]:
        """Return the bounds of phi, as the tied law has them."""
        return CHINCHILLA_TIED.box(points)

    def starts(self, points: Points) -> Floats:
        """Return the tied law's starts."""
        return CHINCHILLA_TIED.starts(points)

    def evaluate(self, points: Points, phi: Floats) -> tuple[Floats, Floats]:
        """Return ln L (B, n) and its slopes (B, n, 4)."""
        return CHINCHILLA_TIED.evaluate(points, phi)

    def theta_of(self, points: Points, phi: Floats) -> Floats:
        """Turn phi (..., 4) into (E, a, b, eta)."""
        tied = CHINCHILLA_TIED.theta_of(points, phi)
        eta = tied[..., 3] / 2
        scale = 6.0**eta
        return np.stack([tied[..., 0], tied[..., 1] * scale, tied[..., 2] * scale, eta], axis=-1)


def _tied(theta: Floats) -> Floats:
    """Return the same law as (E, A, B, alpha, alpha)."""
    e, a, b, eta = np.moveaxis(np.asarray(theta, float), -1, 0)
    return np.stack([e, a * 6.0**-eta, b * 6.0**-eta, 2 * eta, 2 * eta], axis=-1)


OVER_TRAINING = OverTraining()
