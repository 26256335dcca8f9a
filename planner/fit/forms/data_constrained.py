"""The data-constrained law: tokens seen again, and parameters they cannot fill, are worth less.

    data-constrained   L = E + A N'^-alpha + B D'^-beta
        D' = U (1 + R_D (1 - e^(-(D/U - 1) / R_D)))       D > U, else D' = D
        N' = V (1 + R_N (1 - e^(-(N/V - 1) / R_N)))       N > V, else N' = N
        alpha A V^-alpha = beta B U^-beta:  V is the size whose best data are U tokens seen once

Muennighoff et al. 2023 ("Scaling data-constrained language models"), U the unique tokens; their
constants are PUBLISHED. Held: N 7M-9B, up to 1,500 epochs; up to four epochs count almost as fresh
data, and R_D = 15 epochs is the scale on which their worth fades. Where nothing is repeated D' = D,
and N' = N up to V; with endless unique tokens (U unknown or infinite) it is Chinchilla's law at
every size.

``extra`` is U.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.arrays import Floats
from planner.fit.forms.common import five_box, project, row
from planner.fit.laws import optimal_params
from planner.fit.points import Points

PUBLISHED = (
    float(np.exp(0.6254804)),
    float(np.exp(6.255414)),
    float(np.exp(7.3049974)),
    0.3526596,
    0.3526596,
    15.387756,
    5.309743,
)
"""(E, A, B, alpha, beta, R_D, R_N) of the released fit, N in parameters, D in tokens."""
RETURNS = (0.05, 1e4)
"""Bounds of R_D and R_N: repeats worth nothing, repeats as good as new."""
_STARTS = (2.0, 15.0, 100.0)
_ENDLESS = 700.0
"""ln of the unique tokens where they are unknown."""


@dataclass(frozen=True)
class DataConstrained:
    """Chinchilla's law of the parameters and tokens that still count."""

    name: str = "data-constrained"
    formula: str = "E + A N'^-alpha + B D'^-beta, D' = U(1 + R_D(1 - e^(-(D/U-1)/R_D)))"
    names: tuple[str, ...] = ("E", "A", "B", "alpha", "beta", "R_D", "R_N")
    n_free: int = 7
    least_rows: int = 12
    extra: str = "unique_tokens"

    def predict(
        self, theta: Floats, params: Floats, tokens: Floats, extra: Floats | None = None
    ) -> Floats:
        """Return losses in nats per token, shape (..., n)."""
        log_loss, _ = _spread_out(_logs(theta), _columns(params, tokens, extra))
        return np.asarray(np.exp(log_loss))

    def gradient(
        self, theta: Floats, params: Floats, tokens: Floats, extra: Floats | None = None
    ) -> Floats:
        """Return dL/d(E, A, B, alpha, beta, R_D, R_N), shape (..., n, 7)."""
        logs = _logs(theta)
        log_loss, slopes = _spread_out(logs, _columns(params, tokens, extra))
        scale = np.ones_like(logs)
        scale[..., [0, 1, 2, 5, 6]] = np.exp(-logs[..., [0, 1, 2, 5, 6]])
        return np.asarray(np.exp(log_loss)[..., None] * slopes * scale[..., None, :])

    def floor(self, theta: Floats, params: Floats) -> Floats:
        """Return E at every point, shape (..., n)."""
        return np.asarray(row(theta, 0) + np.zeros_like(params, dtype=np.float64))

    def optimal_params(self, theta: Floats, flops: float) -> Floats:
        """Return N*(C) where every token is fresh, in closed form."""
        return optimal_params(np.asarray(theta)[..., :5], flops)

    def box(self, points: Points) -> tuple[Floats, Floats]:
        """Return the bounds of (ln E, ln a, ln b, alpha, beta, ln R_D, ln R_N)."""
        low, high = five_box(points)
        ends = np.log(RETURNS)
        return np.append(low, [ends[0]] * 2), np.append(high, [ends[1]] * 2)

    def starts(self, points: Points) -> Floats:
        """Return starts at three R_D, by variable projection on the tokens that still count."""
        unique = _unique(points)
        out = []
        for returns in _STARTS:
            z, _, _ = _still_counted(points.z, unique, np.log(returns))
            five = project(points.x, z, np.exp(points.y), points.weights, 3)
            rest = [np.full(len(five), np.log(returns)), np.full(len(five), np.log(5.0))]
            out.append(np.column_stack([five, *rest]))
        return np.concatenate(out)

    def evaluate(self, points: Points, phi: Floats) -> tuple[Floats, Floats]:
        """Return ln L (B, n) and its slopes (B, n, 7)."""
        return _spread_out(phi, (points.x, points.z, _unique(points)))

    def theta_of(self, points: Points, phi: Floats) -> Floats:
        """Turn phi (..., 7) into (E, A, B, alpha, beta, R_D, R_N)."""
        logs = phi.copy()
        logs[..., 1] += phi[..., 3] * points.x0
        logs[..., 2] += phi[..., 4] * points.z0
        logs[..., [0, 1, 2, 5, 6]] = np.exp(logs[..., [0, 1, 2, 5, 6]])
        return logs


def _spread_out(logs: Floats, columns: tuple[Floats, Floats, Floats]) -> tuple[Floats, Floats]:
    """Return ln L (..., n) and its slopes in (ln E, ln a, ln b, alpha, beta, ln R_D, ln R_N).

    ``columns`` are ln N, ln D and ln U from any centre, with a and b the terms at that centre.
    """
    x, z, unique = columns
    e, a, b, alpha, beta, r_d, r_n = (row(logs, i) for i in range(7))
    filled = (np.log(alpha / beta) + a - b + beta * unique) / alpha
    tokens, _, tokens_r = _still_counted(z, unique, r_d)
    params, params_v, params_r = _still_counted(x, filled, r_n)
    terms = np.stack(np.broadcast_arrays(e, a - alpha * params, b - beta * tokens))
    top = terms.max(axis=0)
    shares = np.exp(terms - top)
    total = shares.sum(axis=0)
    floor, size, data = shares / total
    by_v = -alpha * size * params_v
    slopes = [
        floor,
        size + by_v / alpha,
        data - by_v / alpha,
        -params * size + by_v * (1.0 / alpha - filled) / alpha,
        -tokens * data + by_v * (unique - 1.0 / beta) / alpha,
        -beta * data * tokens_r,
        -alpha * size * params_r,
    ]
    return top + np.log(total), np.stack(slopes, axis=-1)


def _still_counted(seen: Floats, unique: Floats, log_r: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the log of what still counts, and its slopes in ln unique and ln R.

    All in logs: ``seen`` of ``unique`` things, each repeat worth less on the scale of R repeats.
    """
    excess = np.clip(seen - unique, 0.0, 50.0)
    r, repeats = np.exp(log_r), np.expm1(excess)
    fade = np.exp(-repeats / r)
    times = 1.0 + r * (1.0 - fade)
    counted = np.where(excess > 0.0, unique + np.log(times), seen)
    by_unique = np.where(excess > 0.0, 1.0 - fade * (1.0 + repeats) / times, 0.0)
    return counted, by_unique, np.asarray((r * (1.0 - fade) - repeats * fade) / times)


def _columns(params: Floats, tokens: Floats, extra: Floats | None) -> tuple[Floats, Floats, Floats]:
    x, z = np.log(np.asarray(params, float)), np.log(np.asarray(tokens, float))
    unique = np.full_like(z, np.nan) if extra is None else np.log(np.asarray(extra, float))
    return x, z, np.minimum(np.nan_to_num(unique, nan=_ENDLESS), _ENDLESS)


def _unique(points: Points) -> Floats:
    """Return ln U - z0 of every row."""
    return np.minimum(np.nan_to_num(np.log(points.extra) - points.z0, nan=_ENDLESS), _ENDLESS)


def _logs(theta: Floats) -> Floats:
    """Return (ln E, ln A, ln B, alpha, beta, ln R_D, ln R_N)."""
    logs = np.array(theta, dtype=np.float64)
    logs[..., [0, 1, 2, 5, 6]] = np.log(logs[..., [0, 1, 2, 5, 6]])
    return logs


DATA_CONSTRAINED = DataConstrained()
