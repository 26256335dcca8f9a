"""The best of any law for given points: many starts, one honest end.

    minimise  sum_i w_i s_i huber_delta(ln L(N_i, D_i) - ln L_i)      (a sum, natural logs, float64)

for a law known by its values and slopes J = d ln L / d phi alone. Two phases, all starts at once:
damped reweighted Gauss-Newton brings every start near its basin's floor; the separate basins left
are ended by damped Newton with the whole Hessian

    J' diag(w 1[|r| <= delta]) J + sum_i psi_i d2 ln L_i,     psi_i = w_i clip(r_i, -delta, delta)

whose second part is the difference of J' psi with psi held, so no kink of the Huber loss
is differenced. Refits of a bootstrap share that difference, taken once at the full-data solution:
for every resample it is then one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from planner.arrays import Floats
from planner.fit.laws import Law
from planner.fit.points import Points, huber
from planner.fit.solution import Solution

APPROACH = ((10, 12, 0.1), (20, 6, 0.05))
"""Rounds of the first phase: iterations, ends that go on, how far apart in widths of the box."""
FINISH, LONGEST = 40, 300
"""Most iterations to the last digit: of every basin left, then of the best alone."""
CHUNK = 64
"""Resamples worked on at once: their slopes stay in the processor's cache."""
SETTLED = 1e-14
"""The expected gain, as a share of the objective, below which a row has ended."""
STALLED = 1e-10
"""The same where rounding lets no step gain: above it the end is no minimum."""
HOPELESS = 20.0
"""A row this many times its expected gain above the best is given up."""
_STEP = 1e-6
_TINY = 1e-28

Rows = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]
Curvature = Callable[[Floats, Floats, Floats], Floats]


@dataclass(frozen=True)
class _Problem:
    """The objective of one law on points with one weight vector, or many: weights (B or 1, n)."""

    points: Points
    law: Law
    delta: float
    weights: Floats

    @property
    def racing(self) -> bool:
        """Say whether the rows are starts of one solve, of which one end is wanted."""
        return len(self.weights) == 1

    def weights_of(self, rows: Rows) -> Floats:
        return self.weights if self.racing else self.weights[rows]

    def value(self, phi: Floats, rows: Rows) -> tuple[Floats, Floats, Floats]:
        """Return the objective (B,), the residuals and the slopes of the law."""
        log_loss, jac = self.law.evaluate(self.points, phi)
        r = log_loss - self.points.y
        w = self.weights_of(rows) * np.where(r < 0.0, self.points.slack, 1.0)
        return (w * huber(r, self.delta)).sum(axis=1), r, jac

    def around(self, r: Floats, jac: Floats, rows: Rows) -> _Local:
        """Return what a step needs to know, at residuals and slopes."""
        w = self.weights_of(rows) * np.where(r < 0.0, self.points.slack, 1.0)
        psi = w * np.clip(r, -self.delta, self.delta)
        size = np.abs(r)
        turned = np.swapaxes(jac, 1, 2)
        inside = w * (size <= self.delta)
        tamed = w * np.minimum(1.0, self.delta / np.maximum(size, 1e-300))
        return _Local(
            psi,
            (turned @ psi[..., None])[..., 0],
            turned @ (jac * inside[..., None]),
            turned @ (jac * tamed[..., None]),
        )

    def curvature(self, phi: Floats, psi: Floats, slopes: Floats) -> Floats:
        """Return sum_i psi_i d2 ln L_i / d phi2, shape (B, P, P), by differences of slopes' psi."""
        out = np.empty((*phi.shape, phi.shape[1]))
        for j in range(phi.shape[1]):
            step = np.zeros(phi.shape[1])
            step[j] = _STEP
            moved = self.law.evaluate(self.points, phi + step)[1]
            out[:, :, j] = ((psi[:, None, :] @ moved)[:, 0] - slopes) / _STEP
        return (out + np.swapaxes(out, 1, 2)) / 2

    def shared_curvature(self, phi: Floats) -> Curvature:
        """Return the same as a function of psi alone, its differences taken at phi (P,)."""
        n, p = len(self.points), len(phi)
        slopes = self.law.evaluate(self.points, np.vstack([phi, phi + _STEP * np.eye(p)]))[1]
        tensor = np.moveaxis(slopes[1:] - slopes[:1], 0, 2) / _STEP
        flat = ((tensor + np.swapaxes(tensor, 1, 2)) / 2).reshape(n, p * p)
        return lambda _phi, psi, _slopes: (psi @ flat).reshape(-1, p, p)


@dataclass(frozen=True)
class _Local:
    """psi (B, n), gradient (B, P), Gauss-Newton matrix of the rows inside delta, IRLS metric."""

    psi: Floats
    gradient: Floats
    gauss: Floats
    metric: Floats


def solve_general(points: Points, law: Law, delta: float, starts: Floats | None = None) -> Solution:
    """Return the best end of ``starts`` (S, n_free), else of the law's own (delta = inf: squares).

    Not ``converged``: no step gained any more, or none was left, before the slope had vanished.
    """
    low, high = law.box(points)
    problem = _Problem(points, law, delta, points.weights[None])
    free = law.starts(points) if starts is None else starts
    for iterations, keep, apart in APPROACH:
        free, value, _ = _descend(problem, free, None, iterations)
        free = free[_separate(value, free / (high - low), keep, apart)]
    free, value, ended = _descend(problem, free, problem.curvature, FINISH)
    best = int(np.argmin(value))
    if not ended[best]:
        last = _descend(problem, free[best : best + 1], problem.curvature, LONGEST)
        free[best], value[best], ended[best] = last[0][0], last[1][0], last[2][0]
    touching = (free[best] <= low) | (free[best] >= high)
    return Solution(
        free[best],
        law.theta_of(points, free[best]),
        float(value[best]),
        bool(ended[best]),
        tuple(name for name, touches in zip(law.names, touching, strict=False) if touches),
        delta,
    )


def refit_general(
    points: Points, law: Law, delta: float, weights: Floats, start: Floats
) -> tuple[Floats, Flags]:
    """Return the solutions (B, n_free) for weights (B, n) begun at one ``start`` (n_free,).

    The second result, (B,) of bool, says which of them ended at a minimum.
    """
    free = np.tile(start, (len(weights), 1))
    ended = np.zeros(len(weights), dtype=bool)
    shared = _Problem(points, law, delta, weights).shared_curvature(start)
    for at in range(0, len(weights), CHUNK):
        part = slice(at, at + CHUNK)
        problem = _Problem(points, law, delta, weights[part])
        free[part], _, ended[part] = _descend(problem, free[part], shared, FINISH)
    left = np.flatnonzero(~ended)
    for at in range(0, len(left), CHUNK):
        rows = left[at : at + CHUNK]
        problem = _Problem(points, law, delta, weights[rows])
        free[rows], _, ended[rows] = _descend(problem, free[rows], problem.curvature, LONGEST)
    return free, ended


def _separate(value: Floats, place: Floats, keep: int, apart: float) -> list[int]:
    """Return the lowest few rows whose places (B, P) lie apart."""
    kept: list[int] = []
    for i in np.argsort(value, kind="stable"):
        if all(np.abs(place[i] - place[j]).max() > apart for j in kept):
            kept.append(int(i))
        if len(kept) == keep:
            break
    return kept


def _descend(
    problem: _Problem, starts: Floats, curvature: Curvature | None, iterations: int
) -> tuple[Floats, Floats, Flags]:
    """Return ends (B, P), objectives (B,) and which rows ended at a minimum (B,).

    Without ``curvature`` the IRLS metric stands for the Hessian.
    """
    low, high = problem.law.box(problem.points)
    free = np.clip(starts, low, high)
    rows = np.arange(len(free))
    damping = np.full(len(free), 0.01 if curvature is not None else 1.0)
    ended = np.zeros(len(free), dtype=bool)
    value, r, jac = problem.value(free, rows)
    live = rows
    for _ in range(iterations):
        local = problem.around(r, jac, live)
        hessian = local.metric
        if curvature is not None:
            hessian = local.gauss + curvature(free[live], local.psi, local.gradient)
        step, gain = _step(local, hessian, damping[live], (free[live], low, high))
        trial = np.clip(free[live] + step, low, high)
        reached, r_new, jac_new = problem.value(trial, live)
        better = reached < value[live]
        over, ended[live] = _verdict(gain, value[live], damping[live], better)
        free[live] = np.where(better[:, None], trial, free[live])
        value[live] = np.where(better, reached, value[live])
        damping[live] = np.maximum(np.where(better, 0.3, 4.0) * damping[live], 1e-12)
        r = np.where(better[:, None], r_new, r)
        jac = np.where(better[:, None, None], jac_new, jac)
        if problem.racing:
            behind = value[live] - value.min() > HOPELESS * np.abs(gain)
            over |= behind & (damping[live] <= 1.0)
        live, r, jac = live[~over], r[~over], jac[~over]
        if not len(live):
            break
    return free, value, ended


def _verdict(gain: Floats, value: Floats, damping: Floats, better: Flags) -> tuple[Flags, Flags]:
    """Return which rows need no further step, and which of those are at a minimum."""
    small = np.abs(gain) <= SETTLED * value + _TINY
    done = small & (damping < 0.1) & (gain <= 0.0)
    stuck = ~better & (damping > 1e10)
    return done | stuck, done | (stuck & (np.abs(gain) <= STALLED * value + _TINY))


def _step(
    local: _Local, hessian: Floats, damping: Floats, place: tuple[Floats, Floats, Floats]
) -> tuple[Floats, Floats]:
    """Return damped Newton steps, held where they press against a bound, and g . step."""
    free, low, high = place
    gradient = local.gradient
    held = ((free <= low) & (gradient > 0)) | ((free >= high) & (gradient < 0))
    g = np.where(held, 0.0, gradient)
    scale = np.sqrt(np.diagonal(local.metric, axis1=1, axis2=2))
    scale = np.maximum(scale, 1e-12 * scale.max(axis=1, keepdims=True) + 1e-300)
    outer = scale[:, :, None] * scale[:, None, :]
    eye = np.eye(len(low))
    matrix = (hessian + damping[:, None, None] * local.metric) / outer
    matrix = np.where(held[:, :, None] | held[:, None, :], 0.0, matrix)
    matrix = matrix + eye * np.where(held, 1.0, 1e-13 + 1e-3 * damping[:, None])[:, None, :]
    step = -np.linalg.solve(matrix, (g / scale)[..., None])[..., 0] / scale
    return step, (g * step).sum(axis=1)
