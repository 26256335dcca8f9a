"""The coupled law: size and data terms meet under an exponent, so they trade off harder or softer.

    coupled   L = E + (A N^-alpha + B D^-beta)^gamma

At gamma = 1 it is Chinchilla's law; gamma < 1 lets the larger term dominate, gamma > 1 makes a
shortage of one hurt most where the other is short too. It is Kaplan et al. 2020, eq. 1.5, with a
floor and both inner exponents free. Held: public runs of 1e18-1e22 FLOPs, where it extrapolates
better than Chinchilla's law (about .74 of its error over the top decade).

The solver sees T = (...)^gamma through what it tends to where one term vanishes: ln a - alpha' x
and ln b - beta' z with alpha' = gamma alpha, so that gamma alone shapes the join and gamma = 1 is
an ordinary point.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.arrays import Floats
from planner.fit.forms.common import five_box, project, row
from planner.fit.laws import optimal_params
from planner.fit.points import Points

GAMMA = (0.1, 10.0)
"""Bounds of gamma: at the lower one the larger term already stands alone."""
_STARTS = (0.3, 0.6, 1.0, 1.7, 3.0)


def joined(points: Points, five: Floats, gamma: Floats) -> tuple[Floats, Floats]:
    """Return ln L (B, n) and its slopes (B, 6, n) in (ln E, ln a, ln b, alpha', beta', ln gamma).

    ``five`` is (B, 5), ``gamma`` (B,).
    """
    g = gamma[:, None]
    size = five[:, 1, None] - five[:, 3, None] * points.x
    data = five[:, 2, None] - five[:, 4, None] * points.z
    gap = (size - data) / g
    soft = np.log1p(np.exp(-np.abs(gap)))
    log_term = np.maximum(size, data) + g * soft
    log_loss = np.logaddexp(five[:, 0, None], log_term)
    share = np.exp(log_term - log_loss)
    by_size = 1.0 / (1.0 + np.exp(-np.clip(gap, -700.0, 700.0)))
    out = np.empty((len(five), 6, len(points)))
    out[:, 0] = np.exp(five[:, 0, None] - log_loss)
    out[:, 1] = share * by_size
    out[:, 2] = share - out[:, 1]
    out[:, 3] = -points.x * out[:, 1]
    out[:, 4] = -points.z * out[:, 2]
    out[:, 5] = share * (log_term - by_size * size - (1.0 - by_size) * data)
    return log_loss, out


def bent_starts(points: Points, gammas: tuple[float, ...], keep: int) -> list[tuple[Floats, float]]:
    """Return, for each gamma, starts (S, 5) of the five and that gamma.

    The floor of the plain sum undoes the bend: with T = L - E and c its middle, c (T/c)^(1/gamma)
    is a sum of powers again.
    """
    loss = np.exp(points.y)
    plain = project(points.x, points.z, loss, points.weights, keep)
    least = 1e-3 * loss.min()
    floor = np.minimum(np.exp(plain[0, 0]), loss.min() - least)
    term = np.maximum(loss - floor, least)
    middle = float(np.exp(np.log(term).mean()))
    out = []
    for gamma in gammas:
        straight = floor + middle * (term / middle) ** (1.0 / gamma)
        five = (
            plain if gamma == 1.0 else project(points.x, points.z, straight, points.weights, keep)
        )
        bent = five.copy()
        bent[:, 1:3] = np.log(middle) + gamma * (five[:, 1:3] - np.log(middle))
        bent[:, 3:] = gamma * five[:, 3:]
        out.append((bent, gamma))
    return out


@dataclass(frozen=True)
class Coupled:
    """E + (A N^-alpha + B D^-beta)^gamma."""

    name: str = "coupled"
    formula: str = "E + (A N^-alpha + B D^-beta)^gamma"
    names: tuple[str, ...] = ("E", "A", "B", "alpha", "beta", "gamma")
    n_free: int = 6
    least_rows: int = 8
    extra: str = ""

    def predict(
        self, theta: Floats, params: Floats, tokens: Floats, extra: Floats | None = None
    ) -> Floats:
        """Return losses in nats per token, shape (..., n)."""
        log_sum, _ = _log_sum(theta, params, tokens)
        return np.asarray(row(theta, 0) + np.exp(row(theta, 5) * log_sum))

    def gradient(
        self, theta: Floats, params: Floats, tokens: Floats, extra: Floats | None = None
    ) -> Floats:
        """Return dL/d(E, A, B, alpha, beta, gamma), shape (..., n, 6)."""
        log_sum, by_size = _log_sum(theta, params, tokens)
        gamma = row(theta, 5)
        term = np.exp(gamma * log_sum)
        size, data = gamma * term * by_size, gamma * term * (1.0 - by_size)
        slopes = [
            np.ones_like(term),
            size / row(theta, 1),
            data / row(theta, 2),
            -np.log(params) * size,
            -np.log(tokens) * data,
            term * log_sum,
        ]
        return np.stack(slopes, axis=-1)

    def floor(self, theta: Floats, params: Floats) -> Floats:
        """Return E at every point, shape (..., n)."""
        return np.asarray(row(theta, 0) + np.zeros_like(params, dtype=np.float64))

    def optimal_params(self, theta: Floats, flops: float) -> Floats:
        """Return N*(C): the exponent gamma moves no minimum, so the plain sum's closed form."""
        return optimal_params(np.asarray(theta)[..., :5], flops)

    def box(self, points: Points) -> tuple[Floats, Floats]:
        """Return the bounds of (ln E, ln a, ln b, alpha', beta', ln gamma)."""
        low, high = five_box(points)
        return np.append(low, np.log(GAMMA[0])), np.append(high, np.log(GAMMA[1]))

    def starts(self, points: Points) -> Floats:
        """Return starts at five gammas, by variable projection on the straightened losses."""
        found = bent_starts(points, _STARTS, 3)
        return np.concatenate(
            [np.column_stack([five, np.full(len(five), np.log(g))]) for five, g in found]
        )

    def evaluate(self, points: Points, phi: Floats) -> tuple[Floats, Floats]:
        """Return ln L (B, n) and its slopes (B, n, 6)."""
        gamma = np.exp(phi[:, 5])
        log_loss, slopes = joined(points, phi[:, :5], gamma)
        return log_loss, np.swapaxes(slopes, 1, 2)

    def theta_of(self, points: Points, phi: Floats) -> Floats:
        """Turn phi (..., 6) into (E, A, B, alpha, beta, gamma)."""
        gamma = np.exp(phi[..., 5])
        alpha, beta = phi[..., 3] / gamma, phi[..., 4] / gamma
        a = np.exp(phi[..., 1] / gamma + alpha * points.x0)
        b = np.exp(phi[..., 2] / gamma + beta * points.z0)
        return np.stack([np.exp(phi[..., 0]), a, b, alpha, beta, gamma], axis=-1)


def _log_sum(theta: Floats, params: Floats, tokens: Floats) -> tuple[Floats, Floats]:
    """Return ln(A N^-alpha + B D^-beta) and the size term's share of the sum."""
    size = np.log(row(theta, 1)) - row(theta, 3) * np.log(np.asarray(params, float))
    data = np.log(row(theta, 2)) - row(theta, 4) * np.log(np.asarray(tokens, float))
    log_sum = np.logaddexp(size, data)
    return log_sum, np.exp(size - log_sum)


COUPLED = Coupled()
