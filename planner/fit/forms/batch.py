"""The law with batches: a token in a batch beyond the critical one buys less than a token.

    batch   L = E + A N^-alpha + C S_min^-beta,      S_min = S / (1 + B_crit / B),  S = D / B

S steps of B tokens do the work of S_min steps at an endless batch: McCandlish et al. 2018, and
Kaplan et al. 2020, eq. 1.6 (there L(N, S_min) without a floor), here with one B_crit, in tokens.
S_min = D / (B + B_crit), so at batches far below B_crit the law is Chinchilla's with
B = C B_crit^beta. Held: N 1e6-1e9 near one loss; B_crit grows as training goes on (about D^.4-.5),
so do not extrapolate D far at a large batch. What a *small* batch costs is not in this law.

``extra`` is the batch in tokens; where it is unknown the batch is taken to be far below B_crit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.arrays import Floats
from planner.fit.forms.common import five_box, power, project, row
from planner.fit.laws import optimal_params
from planner.fit.points import Points

_REACH = np.log(1e3)
"""How far outside the batches seen B_crit is looked for, in ln tokens."""
_STARTS = 7


@dataclass(frozen=True)
class Batch:
    """E + A N^-alpha + C (D / (B + B_crit))^-beta."""

    name: str = "batch"
    formula: str = "E + A N^-alpha + C S_min^-beta, S_min = D/(batch + B_crit)"
    names: tuple[str, ...] = ("E", "A", "C", "alpha", "beta", "B_crit")
    n_free: int = 6
    least_rows: int = 8
    extra: str = "batch_tokens"

    def predict(
        self, theta: Floats, params: Floats, tokens: Floats, extra: Floats | None = None
    ) -> Floats:
        """Return losses in nats per token, shape (..., n)."""
        size, data, _ = _terms(theta, params, tokens, extra)
        return np.asarray(row(theta, 0) + size + data)

    def gradient(
        self, theta: Floats, params: Floats, tokens: Floats, extra: Floats | None = None
    ) -> Floats:
        """Return dL/d(E, A, C, alpha, beta, B_crit), shape (..., n, 6)."""
        size, data, whole = _terms(theta, params, tokens, extra)
        slopes = [
            np.ones_like(size),
            size / row(theta, 1),
            data / row(theta, 2),
            -np.log(params) * size,
            -np.log(np.asarray(tokens, float) / whole) * data,
            row(theta, 4) * data / whole,
        ]
        return np.stack(np.broadcast_arrays(*slopes), axis=-1)

    def floor(self, theta: Floats, params: Floats) -> Floats:
        """Return E at every point, shape (..., n)."""
        return np.asarray(row(theta, 0) + np.zeros_like(params, dtype=np.float64))

    def optimal_params(self, theta: Floats, flops: float) -> Floats:
        """Return N*(C) at a batch far below B_crit, where no token is wasted; closed form."""
        e, a, c, alpha, beta, critical = np.moveaxis(np.asarray(theta, float), -1, 0)
        return optimal_params(np.stack([e, a, c * critical**beta, alpha, beta], axis=-1), flops)

    def box(self, points: Points) -> tuple[Floats, Floats]:
        """Return the bounds of (ln E, ln a, ln c, alpha, beta, ln B_crit)."""
        low, high = five_box(points)
        seen = np.log(_batches(points))
        reach = seen.min() - _REACH, seen.max() + _REACH
        return np.append(low, reach[0]), np.append(high, reach[1])

    def starts(self, points: Points) -> Floats:
        """Return starts at seven B_crit, by variable projection on D / (batch + B_crit)."""
        batch = _batches(points)
        middle = _middle(batch)
        reach = np.log(batch).min() - 2.0, np.log(batch).max() + 2.0
        out = []
        for critical in np.exp(np.linspace(*reach, _STARTS)):
            z = points.z - np.log((batch + critical) / (middle + critical))
            five = project(points.x, z, np.exp(points.y), points.weights, 3)
            out.append(np.column_stack([five, np.full(len(five), np.log(critical))]))
        return np.concatenate(out)

    def evaluate(self, points: Points, phi: Floats) -> tuple[Floats, Floats]:
        """Return ln L (B, n) and its slopes (B, n, 6)."""
        batch = _batches(points)
        middle, critical = _middle(batch), np.exp(phi[:, 5, None])
        z = points.z - np.log((batch + critical) / (middle + critical))
        floor = np.exp(phi[:, 0, None])
        size = np.exp(phi[:, 1, None] - phi[:, 3, None] * points.x)
        data = np.exp(phi[:, 2, None] - phi[:, 4, None] * z)
        loss = floor + size + data
        wasted = critical / (batch + critical) - critical / (middle + critical)
        slopes = [floor, size, data, -points.x * size, -z * data, phi[:, 4, None] * data * wasted]
        return np.log(loss), np.stack(np.broadcast_arrays(*slopes), axis=-1) / loss[..., None]

    def theta_of(self, points: Points, phi: Floats) -> Floats:
        """Turn phi (..., 6) into (E, A, C, alpha, beta, B_crit)."""
        critical = np.exp(phi[..., 5])
        a = np.exp(phi[..., 1] + phi[..., 3] * points.x0)
        steps = points.z0 - np.log(_middle(_batches(points)) + critical)
        c = np.exp(phi[..., 2] + phi[..., 4] * steps)
        return np.stack([np.exp(phi[..., 0]), a, c, phi[..., 3], phi[..., 4], critical], axis=-1)


def _terms(
    theta: Floats, params: Floats, tokens: Floats, extra: Floats | None
) -> tuple[Floats, Floats, Floats]:
    """Return the size term, the steps term and B + B_crit."""
    batch = 0.0 if extra is None else np.nan_to_num(np.asarray(extra, float), nan=0.0)
    whole = np.asarray(batch + row(theta, 5))
    size = power(row(theta, 1), row(theta, 3), params)
    return size, power(row(theta, 2), row(theta, 4), np.asarray(tokens, float) / whole), whole


def _batches(points: Points) -> Floats:
    """Return the batch of every row; unknown ones count as the smallest seen."""
    known = points.extra[np.isfinite(points.extra)]
    least = float(known.min()) if len(known) else 1.0
    return np.nan_to_num(points.extra, nan=least)


def _middle(batch: Floats) -> float:
    return float(np.exp(np.log(batch).mean()))


BATCH = Batch()
