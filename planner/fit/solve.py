"""The best law for given points: no start is trusted, every end is second order.

    minimise  sum_i w_i s_i huber_delta(ln L(N_i, D_i) - ln L_i)      (a sum, natural logs, float64)

Starts come from the law itself (variable projection, several separated basins). Ends: in
(ln E, ln a, ln b, alpha, beta), with a and b the terms at the centre of the data, the law is a
log-sum-exp with linear arguments u_k, so with p = softmax(u)

    gradient of ln L = sum_k p_k du_k,     Hessian = sum_k p_k du_k du_k' - gradient gradient'

and a damped Newton step needs no approximation. The damping metric is the IRLS majoriser: with a
delta far below the residuals the Huber loss is nearly L1 and plain Newton alone would cycle.
"""

from __future__ import annotations

import numpy as np

from planner.arrays import Floats
from planner.fit.general import solve_general
from planner.fit.laws import Law, PowerSum, log_terms, slopes
from planner.fit.points import Points
from planner.fit.solution import Solution

MAX_ITERATIONS = 200


def residuals(points: Points, law: Law, phi: Floats) -> Floats:
    """Return ln L_law - ln L, shape (B, n), for phi (B, n_free)."""
    return law.evaluate(points, phi)[0] - points.y


def solve(points: Points, law: Law, delta: float) -> Solution:
    """Return the best of several second-order solves (delta = inf: least squares)."""
    if not isinstance(law, PowerSum):
        return solve_general(points, law, delta)
    return polish(points, law, delta, law.starts(points))


def polish(points: Points, law: PowerSum, delta: float, starts: Floats) -> Solution:
    """Run damped Newton from every start at once and return the best end."""
    low, high = law.box(points)
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
        law.theta_of(points, free[best]),
        float(value[best]),
        not bool(active[best]),
        tuple(name for name, touches in zip(names, touching, strict=True) if touches),
    )


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
    log_loss, shares = log_terms(points, free @ law.expand.T)
    r, jac = log_loss - points.y, slopes(points, shares)
    w = points.one_sided(r)
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
    return points.cost(r, delta), gradient @ m, m.T @ hessian @ m, m.T @ metric @ m


def _own_curvature(points: Points, mass: Floats) -> Floats:
    """Return sum_i sum_k mass_ik du_k du_k', shape (B, 5, 5): moments of 1, x, x^2, z, z^2."""
    out = np.zeros((len(mass), 5, 5))
    out[:, 0, 0] = mass[..., 0].sum(axis=1)
    for k, t in ((1, points.x), (2, points.z)):
        out[:, k, k] = mass[..., k].sum(axis=1)
        out[:, k, k + 2] = out[:, k + 2, k] = -(mass[..., k] @ t)
        out[:, k + 2, k + 2] = mass[..., k] @ (t * t)
    return out
