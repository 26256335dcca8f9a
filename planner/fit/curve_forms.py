"""Laws of one variable x (data, compute or size alone), for any loss-like y > 0.

    floor    y = E + A x^-a
    broken   y = E + b x^-c0 (1 + (x/d1)^(1/f1))^(-c1 f1)     (Caballero et al. 2022, one break)

The slope of the broken law goes from c0 to c0 + c1 at d1, over a width f1 in ln x. Given its
exponents each law is linear in (E, A), so starts are made by variable projection. To the solver
both look like a :class:`planner.fit.laws.Law` on Points.of(x, 1, y).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from planner.arrays import Floats
from planner.fit.laws import BOUNDS, FLOOR
from planner.fit.points import Points

WIDTHS = (0.05, 1.5)
"""Sharper than this a break is a step between two points, wider it is only another slope."""
SIDE = 3
"""Distinct x on either side of a break; with fewer it is the data's end, not a break."""
STARTS = 8
PRIOR_SLOPE = (0.35, 0.35)
PRIOR_WIDTH = (float(np.log(0.3)), 0.7)
PRIOR_EXPONENT = (float(np.log(0.4)), 0.5)
"""Centre and sd of the weak priors: a slope, ln of a width, ln of an exponent (science F4.2)."""


class CurveForm(Protocol):
    """One law of one variable; theta (..., P) is as published, phi (..., P) as it is solved."""

    @property
    def name(self) -> str:
        """The name a user types."""
        ...

    @property
    def formula(self) -> str:
        """One line for people."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """Parameter names, in the order of theta."""
        ...

    @property
    def least_rows(self) -> int:
        """Distinct x below which the form is not tried."""
        ...

    def predict(self, theta: Floats, x: Floats) -> Floats:
        """Return y (..., n)."""
        ...

    def box(self, points: Points) -> tuple[Floats, Floats]:
        """Return the bounds of phi, each (P,)."""
        ...

    def starts(self, points: Points) -> Floats:
        """Return separated starts (S, P)."""
        ...

    def evaluate(self, points: Points, phi: Floats) -> tuple[Floats, Floats]:
        """Return ln y (B, n) and its slopes (B, n, P) for phi (B, P)."""
        ...

    def theta_of(self, points: Points, phi: Floats) -> Floats:
        """Turn phi (..., P) into theta (..., P)."""
        ...

    def log_prior(self, phi: Floats) -> Floats:
        """Return the log of the weak prior (...), E and the amplitude flat and positive."""
        ...

    def told(self, points: Points, phi: Floats) -> dict[str, float]:
        """Return the share of the prior's sd that draws (S, P) still have, by parameter."""
        ...


@dataclass(frozen=True)
class FloorCurve:
    """E + A x^-a; phi = (ln E, ln of the term at the centre, a)."""

    name: str = "floor"
    formula: str = "E + A x^-a"
    names: tuple[str, ...] = ("E", "A", "a")
    least_rows: int = 4

    def predict(self, theta: Floats, x: Floats) -> Floats:
        """Return y (..., n)."""
        floor, log_a, a = theta[..., 0, None], np.log(theta[..., 1, None]), theta[..., 2, None]
        return np.asarray(floor + np.exp(log_a - a * np.log(x)))

    def box(self, points: Points) -> tuple[Floats, Floats]:
        """Return the bounds of phi."""
        least, top = _levels(points)
        return np.array([least, least, BOUNDS[0]]), np.array([points.y.min(), top, BOUNDS[1]])

    def starts(self, points: Points) -> Floats:
        """Return separated starts."""
        return _projected(points, np.geomspace(0.03, 1.8, 40)[:, None], _straight)

    def evaluate(self, points: Points, phi: Floats) -> tuple[Floats, Floats]:
        """Return ln y and its slopes."""
        log_y, share = _two_terms(phi, _straight(points.x, phi[:, 2:]))
        return log_y, np.stack([1.0 - share, share, -share * points.x], axis=-1)

    def theta_of(self, points: Points, phi: Floats) -> Floats:
        """Turn phi into (E, A, a)."""
        amplitude = phi[..., 1] + phi[..., 2] * points.x0
        return np.stack([np.exp(phi[..., 0]), np.exp(amplitude), phi[..., 2]], axis=-1)

    def log_prior(self, phi: Floats) -> Floats:
        """Return the log of the weak prior."""
        once = (np.log(phi[..., 2]) - PRIOR_EXPONENT[0]) / PRIOR_EXPONENT[1]
        return np.asarray(phi[..., 0] + phi[..., 1] - np.log(phi[..., 2]) - once**2 / 2)

    def told(self, points: Points, phi: Floats) -> dict[str, float]:
        """Return the share of the prior's sd left in the exponent."""
        return {"a": float(np.log(phi[:, 2]).std()) / PRIOR_EXPONENT[1]}


@dataclass(frozen=True)
class BrokenCurve:
    """E + b x^-c0 (1 + (x/d1)^(1/f1))^(-c1 f1); phi = (ln E, ln b, c0, c1, ln d1, ln f1), centred.

    The break is kept between the third x from either end.
    """

    name: str = "broken"
    formula: str = "E + b x^-c0 (1 + (x/d1)^(1/f1))^(-c1 f1)"
    names: tuple[str, ...] = ("E", "b", "c0", "c1", "d1", "f1")
    least_rows: int = 9

    def predict(self, theta: Floats, x: Floats) -> Floats:
        """Return y (..., n)."""
        floor, b, c0, c1, d1, f1 = (theta[..., i, None] for i in range(6))
        log_x = np.log(x)
        bend = np.logaddexp(0.0, (log_x - np.log(d1)) / f1)
        return np.asarray(floor + np.exp(np.log(b) - c0 * log_x - c1 * f1 * bend))

    def box(self, points: Points) -> tuple[Floats, Floats]:
        """Return the bounds of phi."""
        least, top = _levels(points)
        first, last = np.unique(points.x)[[SIDE - 1, -SIDE]]
        steep, wide = BOUNDS[1], np.log(WIDTHS)
        low = np.array([least, least, -steep / 4, -steep, first, wide[0]])
        return low, np.array([points.y.min(), top + 2.0, steep, steep, last, wide[1]])

    def starts(self, points: Points) -> Floats:
        """Return separated starts."""
        low, high = self.box(points)
        before, after = np.array([-0.2, 0.0, 0.1, 0.3, 0.6, 1.0]), np.geomspace(0.03, 1.6, 8)
        at = np.linspace(low[4], high[4], 7)
        grid = np.meshgrid(before, after, at, np.log([0.08, 0.3, 0.9]), indexing="ij")
        c0, c2, d1, f1 = (axis.ravel() for axis in grid)
        return _projected(points, np.column_stack([c0, c2 - c0, d1, f1]), _bent)

    def evaluate(self, points: Points, phi: Floats) -> tuple[Floats, Floats]:
        """Return ln y and its slopes."""
        c1, width = phi[:, 3, None], np.exp(phi[:, 5, None])
        log_y, share = _two_terms(phi, _bent(points.x, phi[:, 2:]))
        away = (points.x - phi[:, 4, None]) / width
        bend, past = np.logaddexp(0.0, away), 1.0 / (1.0 + np.exp(-np.clip(away, -500, 500)))
        slopes = [
            1.0 - share,
            share,
            -share * points.x,
            -share * width * bend,
            share * c1 * past,
            -share * c1 * width * (bend - away * past),
        ]
        return log_y, np.stack(slopes, axis=-1)

    def theta_of(self, points: Points, phi: Floats) -> Floats:
        """Turn phi into (E, b, c0, c1, d1, f1)."""
        amplitude = phi[..., 1] + phi[..., 2] * points.x0
        place, width = phi[..., 4] + points.x0, phi[..., 5]
        parts = [phi[..., 0], amplitude, phi[..., 2], phi[..., 3], place, width]
        logs = np.stack(parts, axis=-1)
        slopes = np.isin(np.arange(6), (2, 3))
        return np.where(slopes, logs, np.exp(np.where(slopes, 0.0, logs)))

    def log_prior(self, phi: Floats) -> Floats:
        """Return the log of the weak prior, on the slopes before and after the break."""
        c0, c2 = phi[..., 2], phi[..., 2] + phi[..., 3]
        slopes = sum(((c - PRIOR_SLOPE[0]) / PRIOR_SLOPE[1]) ** 2 for c in (c0, c2))
        width = ((phi[..., 5] - PRIOR_WIDTH[0]) / PRIOR_WIDTH[1]) ** 2
        return np.asarray(phi[..., 0] + phi[..., 1] - (slopes + width) / 2)

    def told(self, points: Points, phi: Floats) -> dict[str, float]:
        """Return the share of the prior's sd left in the break's place."""
        low, high = self.box(points)
        return {"d1": float(phi[:, 4].std()) / float((high[4] - low[4]) / np.sqrt(12.0))}


FLOOR_CURVE, BROKEN_CURVE = FloorCurve(), BrokenCurve()


def _levels(points: Points) -> tuple[float, float]:
    """Return the ln of the least and of the largest value that E or a term may have."""
    return float(np.log(FLOOR) + points.y.min()), float(points.y.max())


def _straight(x: Floats, shape: Floats) -> Floats:
    """Return ln of the falling term, (B, n), with an amplitude of one, for a (B, 1)."""
    return -shape[:, 0, None] * x


def _bent(x: Floats, shape: Floats) -> Floats:
    """Return the same for (c0, c1, ln d1, ln f1), shape (B, 4)."""
    c0, c1, place = (shape[:, i, None] for i in range(3))
    width = np.exp(shape[:, 3, None])
    return np.asarray(-c0 * x - c1 * width * np.logaddexp(0.0, (x - place) / width))


def _two_terms(phi: Floats, log_term: Floats) -> tuple[Floats, Floats]:
    """Return ln y (B, n) and the falling term's share of y."""
    log_term = phi[:, 1, None] + log_term
    log_y = np.logaddexp(phi[:, :1], log_term)
    return log_y, np.exp(log_term - log_y)


class _Term(Protocol):
    def __call__(self, x: Floats, shape: Floats) -> Floats: ...


def _projected(points: Points, shapes: Floats, term: _Term) -> Floats:
    """Return starts (S, 2 + q): the best non-negative (E, A) at shapes (G, q), then the shape."""
    inverse = np.exp(-points.y)
    falling = np.exp(term(points.x, shapes)) * inverse
    w = points.weights
    a11, a12, a22 = (inverse**2 * w).sum(), falling @ (inverse * w), (falling**2) @ w
    b1, b2 = (inverse * w).sum(), falling @ w
    determinant = np.maximum(a11 * a22 - a12**2, 1e-300)
    floor, size = (a22 * b1 - a12 * b2) / determinant, (a11 * b2 - a12 * b1) / determinant
    size = np.where(floor > 0, size, b2 / a22)
    least = FLOOR * 10 * np.exp(points.y.min())
    both = np.log(np.maximum(np.column_stack([floor, size]), least))
    r = np.log(np.exp(both[:, :1]) * inverse + np.exp(both[:, 1:]) * falling)
    order = np.argsort((np.abs(r) * w).sum(axis=1), kind="stable")
    spread = np.maximum(np.ptp(shapes, axis=0), 1e-12)
    kept: list[int] = []
    for i in order:
        if all(np.abs((shapes[i] - shapes[j]) / spread).max() > 0.1 for j in kept):
            kept.append(int(i))
        if len(kept) == STARTS:
            break
    return np.column_stack([both[kept], shapes[kept]])
