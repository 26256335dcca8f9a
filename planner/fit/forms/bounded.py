"""The bounded rational law: a sum of powers that cannot climb over a ceiling.

    bounded-rational   L = E + S / (1 + kappa S),      S = A N^-alpha + B D^-beta

the M4 estimator of Alabdulmohsin, Neyshabur and Zhai 2022 ("Revisiting neural scaling laws in
language and vision", (L - E) / (L0 - L)^alpha = S) with its outer exponent at 1, where it is a
rational function, and with two terms for its one. The ceiling is L0 = E + 1/kappa: the loss
of a model too small or too briefly trained to have learned anything. kappa = 0 is Chinchilla's law,
a bound of the fit. Held: image and language curves that begin near the guess of a blank model; it
differs from Chinchilla's law at the small end only, which is where a ladder of proxies stands.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.arrays import Floats
from planner.fit.forms.common import five_box, power, project, row
from planner.fit.laws import optimal_params
from planner.fit.points import Points

_STARTS = (0.0, 0.3, 0.6, 0.85)
_MOST = 2.0
"""The largest kappa, in units of one over the spread of the losses: a ceiling half way up."""


@dataclass(frozen=True)
class BoundedRational:
    """E + S / (1 + kappa S) with S = A N^-alpha + B D^-beta; kappa in 1 / nats."""

    name: str = "bounded-rational"
    formula: str = "E + S/(1 + kappa S), S = A N^-alpha + B D^-beta"
    names: tuple[str, ...] = ("E", "A", "B", "alpha", "beta", "kappa")
    n_free: int = 6
    least_rows: int = 8
    extra: str = ""

    def predict(
        self, theta: Floats, params: Floats, tokens: Floats, extra: Floats | None = None
    ) -> Floats:
        """Return losses in nats per token, shape (..., n)."""
        total = sum(_terms(theta, params, tokens))
        return np.asarray(row(theta, 0) + total / (1.0 + row(theta, 5) * total))

    def gradient(
        self, theta: Floats, params: Floats, tokens: Floats, extra: Floats | None = None
    ) -> Floats:
        """Return dL/d(E, A, B, alpha, beta, kappa), shape (..., n, 6)."""
        size, data = _terms(theta, params, tokens)
        total = size + data
        slope = 1.0 / (1.0 + row(theta, 5) * total) ** 2
        slopes = [
            np.ones_like(total),
            slope * size / row(theta, 1),
            slope * data / row(theta, 2),
            -slope * np.log(params) * size,
            -slope * np.log(tokens) * data,
            -slope * total**2,
        ]
        return np.stack(slopes, axis=-1)

    def floor(self, theta: Floats, params: Floats) -> Floats:
        """Return E at every point, shape (..., n)."""
        return np.asarray(row(theta, 0) + np.zeros_like(params, dtype=np.float64))

    def optimal_params(self, theta: Floats, flops: float) -> Floats:
        """Return N*(C): the bound moves no minimum, so the plain sum's closed form."""
        return optimal_params(np.asarray(theta)[..., :5], flops)

    def box(self, points: Points) -> tuple[Floats, Floats]:
        """Return the bounds of (ln E, ln a, ln b, alpha, beta, kappa * spread of the losses)."""
        low, high = five_box(points)
        high[1:3] += 5.0
        return np.append(low, 0.0), np.append(high, _MOST)

    def starts(self, points: Points) -> Floats:
        """Return starts at four ceilings, by variable projection on the straightened losses."""
        loss = np.exp(points.y)
        plain = project(points.x, points.z, loss, points.weights, 3)
        reducible = np.maximum(loss - np.exp(plain[0, 0]), 1e-3 * loss)
        floor, top = loss - reducible, float(reducible.max())
        out = []
        for share in _STARTS:
            straight = floor + reducible / (1.0 - share * reducible / top)
            five = project(points.x, points.z, straight, points.weights, 3)
            out.append(np.column_stack([five, np.full(len(five), share * _spread(points) / top)]))
        return np.concatenate(out)

    def evaluate(self, points: Points, phi: Floats) -> tuple[Floats, Floats]:
        """Return ln L (B, n) and its slopes (B, n, 6)."""
        kappa = (phi[:, 5] / _spread(points))[:, None]
        size = np.exp(phi[:, 1, None] - phi[:, 3, None] * points.x)
        data = np.exp(phi[:, 2, None] - phi[:, 4, None] * points.z)
        total, floor = size + data, np.exp(phi[:, 0, None])
        shrink = 1.0 / (1.0 + kappa * total)
        loss = floor + total * shrink
        slope = shrink**2 / loss
        out = np.empty((len(phi), 6, len(points)))
        out[:, 0] = floor / loss
        out[:, 1] = slope * size
        out[:, 2] = slope * data
        out[:, 3] = -points.x * out[:, 1]
        out[:, 4] = -points.z * out[:, 2]
        out[:, 5] = -slope * total**2 / _spread(points)
        return np.log(loss), np.swapaxes(out, 1, 2)

    def theta_of(self, points: Points, phi: Floats) -> Floats:
        """Turn phi (..., 6) into (E, A, B, alpha, beta, kappa)."""
        a = np.exp(phi[..., 1] + phi[..., 3] * points.x0)
        b = np.exp(phi[..., 2] + phi[..., 4] * points.z0)
        kappa = phi[..., 5] / _spread(points)
        return np.stack([np.exp(phi[..., 0]), a, b, phi[..., 3], phi[..., 4], kappa], axis=-1)


def _terms(theta: Floats, params: Floats, tokens: Floats) -> tuple[Floats, Floats]:
    size = power(row(theta, 1), row(theta, 3), params)
    return size, power(row(theta, 2), row(theta, 4), tokens)


def _spread(points: Points) -> float:
    """Return the range of the losses, in nats: the unit in which kappa is well scaled."""
    high, low = float(np.exp(points.y.max())), float(np.exp(points.y.min()))
    return max(high - low, 1e-3 * high)


BOUNDED_RATIONAL = BoundedRational()
