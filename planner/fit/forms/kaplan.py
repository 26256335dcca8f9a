"""Kaplan's law with the floor it lacks.

    kaplan-floor   L = E + ((Nc / N)^(alphaN / alphaD) + Dc / D)^alphaD

Kaplan et al. 2020, eq. 1.5, plus E: the coupled law with beta = 1. Held, without a floor, for N
800-1.5e9 (embeddings not counted) and D 22M-23B on WebText2; it bends too early beyond.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.arrays import Floats
from planner.fit.forms.common import five_box, row
from planner.fit.forms.coupled import COUPLED, bent_starts, joined
from planner.fit.points import Points

_STARTS = (0.08, 0.2, 0.4, 0.8)


@dataclass(frozen=True)
class KaplanFloor:
    """E + ((Nc/N)^(alphaN/alphaD) + Dc/D)^alphaD."""

    name: str = "kaplan-floor"
    formula: str = "E + ((Nc/N)^(alphaN/alphaD) + Dc/D)^alphaD"
    names: tuple[str, ...] = ("E", "Nc", "Dc", "alphaN", "alphaD")
    n_free: int = 5
    least_rows: int = 6
    extra: str = ""

    def predict(
        self, theta: Floats, params: Floats, tokens: Floats, extra: Floats | None = None
    ) -> Floats:
        """Return losses in nats per token, shape (..., n)."""
        return COUPLED.predict(_coupled(theta), params, tokens)

    def gradient(
        self, theta: Floats, params: Floats, tokens: Floats, extra: Floats | None = None
    ) -> Floats:
        """Return dL/d(E, Nc, Dc, alphaN, alphaD), shape (..., n, 5)."""
        inner = COUPLED.gradient(_coupled(theta), params, tokens)
        _, a, _, ratio, _, gamma = (row(_coupled(theta), i) for i in range(6))
        log_nc = np.log(row(theta, 1))
        by_ratio = inner[..., 3] + inner[..., 1] * a * log_nc
        slopes = [
            inner[..., 0],
            inner[..., 1] * a * ratio / row(theta, 1),
            inner[..., 2],
            by_ratio / gamma,
            inner[..., 5] - by_ratio * ratio / gamma,
        ]
        return np.stack(slopes, axis=-1)

    def floor(self, theta: Floats, params: Floats) -> Floats:
        """Return E at every point, shape (..., n)."""
        return COUPLED.floor(theta, params)

    def optimal_params(self, theta: Floats, flops: float) -> Floats:
        """Return N*(C), in closed form."""
        return COUPLED.optimal_params(_coupled(theta), flops)

    def box(self, points: Points) -> tuple[Floats, Floats]:
        """Return the bounds of (ln E, ln a, ln b, alphaN, alphaD)."""
        return five_box(points)

    def starts(self, points: Points) -> Floats:
        """Return starts at four alphaD, by variable projection on the straightened losses."""
        found = bent_starts(points, _STARTS, 3)
        return np.concatenate(
            [np.column_stack([five[:, :4], np.full(len(five), g)]) for five, g in found]
        )

    def evaluate(self, points: Points, phi: Floats) -> tuple[Floats, Floats]:
        """Return ln L (B, n) and its slopes (B, n, 5)."""
        log_loss, slopes = joined(points, phi, phi[:, 4])
        slopes[:, 4] += slopes[:, 5] / phi[:, 4, None]
        return log_loss, np.swapaxes(slopes[:, :5], 1, 2)

    def theta_of(self, points: Points, phi: Floats) -> Floats:
        """Turn phi (..., 5) into (E, Nc, Dc, alphaN, alphaD)."""
        nc = np.exp(phi[..., 1] / phi[..., 3] + points.x0)
        dc = np.exp(phi[..., 2] / phi[..., 4] + points.z0)
        return np.stack([np.exp(phi[..., 0]), nc, dc, phi[..., 3], phi[..., 4]], axis=-1)


def _coupled(theta: Floats) -> Floats:
    """Return the same law as (E, A, B, alpha, 1, gamma)."""
    e, nc, dc, size, data = np.moveaxis(np.asarray(theta, float), -1, 0)
    ratio = size / data
    return np.stack([e, np.exp(ratio * np.log(nc)), dc, ratio, np.ones_like(e), data], axis=-1)


KAPLAN_FLOOR = KaplanFloor()
