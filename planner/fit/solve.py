"""The best law for given points: no start is trusted, every end is second order.

    minimise  sum_i w_i huber_delta(ln L(N_i, D_i) - ln L_i)          (a sum, natural logs, float64)

Starts: on a grid of exponents the coefficients are a non-negative least-squares problem in three
variables, solved by trying every active set (variable projection); several separated basins are
kept. Ends: in (ln E, ln a, ln b, alpha, beta), with a and b the terms at the centre of the data,
the law is a log-sum-exp with linear arguments u_k, so with p = softmax(u)

    gradient of ln L = sum_k p_k du_k,     Hessian = sum_k p_k du_k du_k' - gradient gradient'

and a damped Newton step needs no approximation. The damping metric is the IRLS majoriser: with a
delta far below the residuals the Huber loss is nearly L1 and plain Newton alone would cycle.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from planner.arrays import Floats
from planner.fit.laws import PowerSum

GRID = (0.05, 1.2)
"""Exponents at which starts are made; published exponents lie within .1 to .8."""
BOUNDS = (0.02, 2.0)
"""Exponents outside are refused: the fit is then reported as at its bound."""
FLOOR = 1e-4
"""The least share of the smallest loss that E (or a term) may have; below it E has collapsed."""
MAX_ITERATIONS = 200
_SUBSETS = [list(s) for k in (1, 2, 3) for s in combinations(range(3), k)]


@dataclass(frozen=True)
class Points:
    """Centred log data: x = ln N - x0, z = ln D - z0, y = ln L, weights; all of shape (n,)."""

    x: Floats
    z: Floats
    y: Floats
    weights: Floats
    x0: float
    z0: float

    @classmethod
    def of(
        cls, params: Floats, tokens: Floats, loss: Floats, weights: Floats | None = None
    ) -> Points:
        """Take logs and centre; weights are scaled to a mean of one."""
        x, z = np.log(params), np.log(tokens)
        w = np.ones_like(x) if weights is None else weights / np.mean(weights)
        return cls(x - x.mean(), z - z.mean(), np.log(loss), w, float(x.mean()), float(z.mean()))

    def theta(self, phi: Floats) -> Floats:
        """Turn (ln E, ln a, ln b, alpha, beta), shape (..., 5), into (E, A, B, alpha, beta)."""
        shift = np.stack(
            [
                phi[..., 0],
                phi[..., 1] + phi[..., 3] * self.x0,
                phi[..., 2] + phi[..., 4] * self.z0,
            ],
            axis=-1,
        )
        return np.concatenate([np.exp(shift), phi[..., 3:]], axis=-1)


@dataclass(frozen=True)
class Solution:
    """The end of a solve: ``free`` parameters (P,), the same spread over ``phi`` (5,), and how.

    ``at_bound`` names the parameters that rest on a bound.
    """

    free: Floats
    phi: Floats
    objective: float
    converged: bool
    at_bound: tuple[str, ...]


def residuals(points: Points, phi: Floats) -> tuple[Floats, Floats]:
    """Return ln L(phi) - ln L, shape (B, n), and the terms' shares p, shape (B, n, 3)."""
    u = np.stack(
        [
            np.broadcast_to(phi[:, 0, None], (len(phi), len(points.x))),
            phi[:, 1, None] - phi[:, 3, None] * points.x,
            phi[:, 2, None] - phi[:, 4, None] * points.z,
        ],
        axis=-1,
    )
    top = u.max(axis=-1, keepdims=True)
    shares = np.exp(u - top)
    total = shares.sum(axis=-1, keepdims=True)
    return (top + np.log(total))[..., 0] - points.y, shares / total


def jacobian(points: Points, shares: Floats) -> Floats:
    """Return d ln L / d phi, shape (B, n, 5)."""
    size, data = shares[..., 1], shares[..., 2]
    return np.stack([shares[..., 0], size, data, -points.x * size, -points.z * data], axis=-1)


def huber(r: Floats, delta: float) -> Floats:
    """Return the Huber loss: r^2/2 within delta, linear beyond."""
    size = np.abs(r)
    if np.isinf(delta):
        return r * r / 2
    return np.where(size <= delta, r * r / 2, delta * (size - delta / 2))


def solve(points: Points, law: PowerSum, delta: float, starts: int = 6) -> Solution:
    """Return the best of several second-order solves (delta = inf: least squares)."""
    return polish(points, law, delta, projected_starts(points, law, delta, starts))


def projected_starts(points: Points, law: PowerSum, delta: float, keep: int) -> Floats:
    """Return up to ``keep`` separated starts, shape (S, n_free), by variable projection."""
    alpha, beta = _exponent_grid(law)
    coefficients = _non_negative(points, alpha, beta)
    least = FLOOR * 10 * np.exp(points.y.min())
    phi = np.column_stack([np.log(np.maximum(coefficients, least)), alpha, beta])
    r, _ = residuals(points, phi)
    order = np.argsort((points.weights * huber(r, delta)).sum(axis=1), kind="stable")
    place = np.log(np.column_stack([alpha, beta]))
    kept: list[int] = []
    for i in order:
        if all(np.abs(place[i] - place[j]).max() > 0.3 for j in kept):
            kept.append(int(i))
        if len(kept) == keep:
            break
    return phi[kept][:, [law.free.index(p) for p in range(law.n_free)]]


def _exponent_grid(law: PowerSum) -> tuple[Floats, Floats]:
    if law.free[3] == law.free[4]:
        line = np.geomspace(*GRID, 48)
        return line, line
    alpha, beta = np.meshgrid(np.geomspace(*GRID, 24), np.geomspace(*GRID, 24))
    return alpha.ravel(), beta.ravel()


def _non_negative(points: Points, alpha: Floats, beta: Floats) -> Floats:
    """Return the best (E, a, b) >= 0, shape (G, 3), for relative errors at each exponent pair."""
    columns = (
        np.stack(
            [
                np.ones((len(alpha), len(points.x))),
                np.exp(-alpha[:, None] * points.x),
                np.exp(-beta[:, None] * points.z),
            ],
            axis=-1,
        )
        * np.exp(-points.y)[:, None]
    )
    weighted = columns * points.weights[:, None]
    gram, target = np.swapaxes(weighted, 1, 2) @ columns, weighted.sum(axis=1)
    gram += 1e-12 * np.trace(gram, axis1=1, axis2=2)[:, None, None] * np.eye(3)
    best, gain = np.zeros((len(alpha), 3)), np.zeros(len(alpha))
    for subset in _SUBSETS:
        sub = gram[:, subset][:, :, subset]
        solved = np.linalg.solve(sub, target[:, subset, None])[..., 0]
        explained = (solved * target[:, subset]).sum(axis=1)
        better = (solved >= 0).all(axis=1) & (explained > gain)
        gain = np.where(better, explained, gain)
        filled = np.zeros_like(best)
        filled[:, subset] = solved
        best = np.where(better[:, None], filled, best)
    return best


def polish(points: Points, law: PowerSum, delta: float, starts: Floats) -> Solution:
    """Run damped Newton from every start at once and return the best end."""
    low, high = _box(points, law)
    free = np.clip(starts, low, high)
    damping, active = np.ones(len(free)), np.ones(len(free), dtype=bool)
    value, gradient, hessian, metric = _expand(points, law, delta, free)
    for _ in range(MAX_ITERATIONS):
        step, decrement = _step(
            gradient, hessian + damping[:, None, None] * metric, free, low, high
        )
        trial = np.clip(free + step, low, high)
        ends = _expand(points, law, delta, trial)
        better = active & (ends[0] < value)
        settled = (np.abs(decrement) <= 1e-14 * value + 1e-28) & (damping < 0.1)
        damping = np.where(better, damping * 0.15, damping * 4.0)
        free = np.where(better[:, None], trial, free)
        value = np.where(better, ends[0], value)
        gradient = np.where(better[:, None], ends[1], gradient)
        hessian = np.where(better[:, None, None], ends[2], hessian)
        metric = np.where(better[:, None, None], ends[3], metric)
        active &= ~settled & (damping < 1e12)
        damping = np.maximum(damping, 1e-12)
        if not active.any():
            break
    best = int(np.argmin(value))
    names = [law.names[law.free.index(p)] for p in range(law.n_free)]
    touching = (free[best] <= low) | (free[best] >= high)
    return Solution(
        free[best],
        law.expand @ free[best],
        float(value[best]),
        not bool(active[best]),
        tuple(name for name, touches in zip(names, touching, strict=True) if touches),
    )


def _box(points: Points, law: PowerSum) -> tuple[Floats, Floats]:
    floor, top = np.log(FLOOR) + points.y.min(), points.y.max()
    low = np.array([floor, floor, floor, BOUNDS[0], BOUNDS[0]])
    high = np.array([points.y.min(), top, top, BOUNDS[1], BOUNDS[1]])
    first = [law.free.index(p) for p in range(law.n_free)]
    return low[first], high[first]


def _step(
    gradient: Floats, curvature: Floats, free: Floats, low: Floats, high: Floats
) -> tuple[Floats, Floats]:
    """Return Newton steps with the parameters held that press against a bound, and decrements."""
    held = ((free <= low) & (gradient > 0)) | ((free >= high) & (gradient < 0))
    g = np.where(held, 0.0, gradient)
    h = np.where(held[:, :, None] | held[:, None, :], 0.0, curvature)
    scale = np.sqrt(np.maximum(np.abs(np.diagonal(h, axis1=1, axis2=2)), 1e-300))
    scale = np.where(held, 1.0, scale)
    scaled = h / (scale[:, :, None] * scale[:, None, :])
    scaled = scaled + np.eye(h.shape[1]) * np.where(held, 1.0, 1e-14)[:, None, :]
    step = -np.linalg.solve(scaled, (g / scale)[..., None])[..., 0] / scale
    return step, (g * step).sum(axis=1)


def _expand(
    points: Points, law: PowerSum, delta: float, free: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return objective (B,), gradient (B, P), Hessian and IRLS metric (B, P, P)."""
    r, shares = residuals(points, free @ law.expand.T)
    jac = jacobian(points, shares)
    w = points.weights
    slope = w * np.clip(r, -delta, delta)
    inside = w * (np.abs(r) <= delta)
    irls = w * np.minimum(1.0, delta / np.maximum(np.abs(r), 1e-300))
    transposed = np.swapaxes(jac, 1, 2)
    hessian = transposed @ (jac * (inside - slope)[..., None]) + _own_curvature(
        points, shares * slope[..., None]
    )
    metric = transposed @ (jac * irls[..., None])
    gradient = (jac * slope[..., None]).sum(axis=1)
    m = law.expand
    return (w * huber(r, delta)).sum(axis=1), gradient @ m, m.T @ hessian @ m, m.T @ metric @ m


def _own_curvature(points: Points, mass: Floats) -> Floats:
    """Return sum_i sum_k mass_ik du_k du_k', shape (B, 5, 5): moments of 1, x, x^2, z, z^2."""
    out = np.zeros((len(mass), 5, 5))
    out[:, 0, 0] = mass[..., 0].sum(axis=1)
    for k, t in ((1, points.x), (2, points.z)):
        out[:, k, k] = mass[..., k].sum(axis=1)
        out[:, k, k + 2] = out[:, k + 2, k] = -(mass[..., k] @ t)
        out[:, k + 2, k + 2] = mass[..., k] @ (t * t)
    return out
