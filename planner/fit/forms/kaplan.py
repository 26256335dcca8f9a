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
        log_sum, _, _ = _log_sum(theta, params, tokens)
        return np.asarray(row(theta, 0) + np.exp(row(theta, 4) * log_sum))

    def gradient(
        self, theta: Floats, params: Floats, tokens: Floats, extra: Floats | None = None
    ) -> Floats:
        """Return dL/d(E, Nc, Dc, alphaN, alphaD), shape (..., n, 5)."""
        log_sum, by_size, distance = _log_sum(theta, params, tokens)
        size, data = row(theta, 3), row(theta, 4)
        term = np.exp(data * log_sum)
        slopes = [
            np.ones_like(term),
            term * size * by_size / row(theta, 1),
            term * data * (1.0 - by_size) / row(theta, 2),
            term * by_size * distance,
            term * (log_sum - by_size * distance * size / data),
        ]
        return np.stack(slopes, axis=-1)

    def floor(self, theta: Floats, params: Floats) -> Floats:
        """Return E at every point, shape (..., n)."""
        return COUPLED.floor(theta, params)

    def optimal_params(self, theta: Floats, flops: float) -> Floats:
        """Return N*(C), where alphaN/alphaD (Nc/N)^(alphaN/alphaD) = Dc/D."""
        _, nc, dc, size, data = np.moveaxis(np.asarray(theta, float), -1, 0)
        ratio = size / data
        log_size = np.log(ratio) + ratio * np.log(nc) + np.log(flops / 6.0) - np.log(dc)
        return np.asarray(np.exp(log_size / (1.0 + ratio)))

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


def _log_sum(theta: Floats, params: Floats, tokens: Floats) -> tuple[Floats, Floats, Floats]:
    """Return ln of the sum in the bracket, the size term's share of it, and ln Nc/N."""
    distance = np.log(row(theta, 1)) - np.log(np.asarray(params, float))
    size = row(theta, 3) / row(theta, 4) * distance
    data = np.log(row(theta, 2)) - np.log(np.asarray(tokens, float))
    log_sum = np.logaddexp(size, data)
    return log_sum, np.exp(size - log_sum), distance


KAPLAN_FLOOR = KaplanFloor()
