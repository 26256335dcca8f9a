"""The best parameters of a schedule law for given curves, and what that end is worth.

minimise  sum_i huber_delta(ln L(theta) - ln loss_i),  delta = max(1e-3, 1.345 robust sd)

Given the exponents and the shape of the relief, E, A and B are a non-negative least squares: the
best points of a small grid are the starts, and Gauss-Newton steps within bounds refine them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import OptimizeResult, least_squares, nnls

from planner.arrays import Floats
from planner.fit.schedule.laws import COMMON, Law, evaluate
from planner.fit.schedule.path import Seen

DELTA = 1e-3
"""Huber's delta on log residuals, as the multi-power law's authors have it."""
TUNED = 1.345
"""Residual sd inside which a residual counts in full: 95 % efficient for Gaussian ones."""
ALPHAS = (0.25, 0.45, 0.8)
STARTS = 2
LOW = np.array([0.0, -9.0, 0.05, 0.05, -12.0])
HIGH = np.array([1.0, 3.0, 1.5, 4.0, 6.0])
"""Bounds of (E, ln A, alpha, w, ln B), in the laws' units."""
BLIND = 1e-6
"""Singular value of the slopes, columns scaled to one, below which a direction is not seen."""
EDGE = 1e-4
"""Of a bound's interval: nearer than this an end rests on the bound."""


@dataclass(frozen=True)
class Data:
    """Points of one curve: what a law sees there, and ln loss (n,) in units of the lowest loss."""

    seen: Seen
    y: Floats

    def take(self, rows: np.ndarray) -> Data:
        """Return some of the points."""
        return Data(self.seen.take(rows), self.y[rows])


@dataclass(frozen=True)
class Form:
    """A law, and whether the share w of the warmup's area that counts is fitted or one."""

    law: Law
    free_lead: bool

    @property
    def name(self) -> str:
        """The law's name; ``+w`` when w is fitted."""
        return self.law.name + ("+w" if self.free_lead else "")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all parameters, w included."""
        return (*COMMON, *self.law.names)

    @property
    def free(self) -> np.ndarray:
        """Indices of the parameters that are fitted."""
        every = np.arange(len(self.names))
        return every if self.free_lead else every[every != COMMON.index("w")]

    @property
    def box(self) -> Floats:
        """Lowest and highest theta, (2, P)."""
        common = np.stack([LOW, HIGH])
        return np.concatenate([common, self.law.box], axis=1)


@dataclass(frozen=True)
class Solved:
    """The end of a solve: theta (P,), and the names that rest on a bound or are not determined."""

    theta: Floats
    delta: float
    cost: float
    converged: bool
    at_bound: tuple[str, ...]
    undetermined: tuple[str, ...]

    @property
    def status(self) -> str:
        """Say in words what the end is worth."""
        if not self.converged:
            return "not converged"
        if self.undetermined:
            return f"not identified: {', '.join(self.undetermined)}"
        return f"converged, at bound: {', '.join(self.at_bound)}" if self.at_bound else "converged"


def residuals(form: Form, theta: Floats, data: Sequence[Data]) -> tuple[Floats, Floats]:
    """Return ln L - y (n,) and its slopes (n, P) over all curves."""
    parts = [evaluate(form.law, theta, part.seen) for part in data]
    y = np.concatenate([part.y for part in data])
    return np.concatenate([p[0] for p in parts]) - y, np.concatenate([p[1] for p in parts])


def solve(form: Form, data: Sequence[Data], start: Floats | None = None) -> Solved:
    """Return the best end over the starts; ``start`` (P,) stands for them where it is given."""
    begins = _starts(form, data) if start is None else start[None]
    ends = [_descend(form, data, begin, DELTA) for begin in begins]
    best = min(ends, key=lambda end: float(end[1].cost))
    scale = 1.4826 * float(np.median(np.abs(residuals(form, best[0], data)[0])))
    delta = max(DELTA, TUNED * scale)
    if delta > DELTA:
        best = _descend(form, data, best[0], delta)
    theta, result = best
    low, high = form.box
    near = EDGE * (high - low)
    bound = (theta < low + near) | (theta > high - near)
    inside = np.array([i for i in form.free if not bound[i]])
    at_bound = tuple(form.names[i] for i in form.free if bound[i])
    unseen = _undetermined(form, residuals(form, theta, data)[1][:, inside], inside)
    return Solved(theta, delta, float(result.cost), result.status > 0, at_bound, unseen)


def _descend(
    form: Form, data: Sequence[Data], begin: Floats, delta: float
) -> tuple[Floats, OptimizeResult]:
    free, (low, high) = form.free, form.box[:, form.free]

    def whole(part: Floats) -> Floats:
        theta = begin.copy()
        theta[free] = part
        return theta

    def misses(part: Floats) -> Floats:
        return residuals(form, whole(part), data)[0]

    def slopes(part: Floats) -> Floats:
        return residuals(form, whole(part), data)[1][:, free]

    inset = 1e-9 * (high - low)
    found = least_squares(
        misses,
        np.clip(begin[free], low + inset, high - inset),
        jac=slopes,
        bounds=(low, high),
        loss="huber",
        f_scale=delta,
        x_scale="jac",
        max_nfev=200,
    )
    return whole(found.x), found


def _starts(form: Form, data: Sequence[Data]) -> Floats:
    """Return the best points of the grid over alpha and the shapes, (STARTS, P)."""
    y = np.concatenate([part.y for part in data])
    found: list[tuple[float, Floats]] = []
    for shape in form.law.grid:
        relief = np.concatenate([form.law.relief(shape, part.seen)[0] for part in data])
        reached = np.concatenate(
            [form.law.progress(shape, part.seen)[0] + part.seen.lead[:, 0] for part in data]
        )
        for alpha in ALPHAS:
            design = np.column_stack([np.ones_like(y), reached**-alpha, -relief])
            (level, slope, gain), miss = nnls(design * np.exp(-y)[:, None], np.ones_like(y))
            logs = np.log(np.maximum([slope, gain], 1e-4))
            found.append((miss, np.array([level, logs[0], alpha, 1.0, logs[1], *shape])))
    found.sort(key=lambda one: one[0])
    low, high = form.box
    return np.clip(np.stack([theta for _, theta in found[:STARTS]]), low, high)


def _undetermined(form: Form, slopes: Floats, inside: np.ndarray) -> tuple[str, ...]:
    """Return the parameters that share a direction the points do not see."""
    scaled = slopes / np.maximum(np.linalg.norm(slopes, axis=0), 1e-300)
    _, sizes, directions = np.linalg.svd(np.linalg.qr(scaled, mode="r"))
    seen = int((sizes > BLIND).sum())
    moved = (np.abs(directions[seen:]) > 0.1).any(axis=0)
    return tuple(form.names[i] for i in inside[moved])
