"""The loss laws: how decayed loss depends on parameters N and tokens D.

    L(N, D) = E + A N^-alpha + B D^-beta                                   (Hoffmann et al. 2022)

``CHINCHILLA`` frees all five, ``CHINCHILLA_TIED`` sets beta = alpha; the other forms are in
:mod:`planner.fit.forms`. A law is known to the rest of the package by its :class:`Law` face alone;
numpy only, so that a proxy may plant one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product
from typing import Protocol

import numpy as np

from planner.arrays import Floats
from planner.fit.points import Points

GRID = (0.07, 0.2, 0.5, 1.2)
"""Exponents at which starts are made; published exponents lie within .1 to .8."""
BOUNDS = (0.02, 2.0)
"""Exponents outside are refused: the fit is then reported as at its bound."""
FLOOR = 1e-4
"""The least share of the smallest loss that E (or a term) may have; below it E has collapsed."""
_SUBSETS = [list(s) for k in (1, 2, 3) for s in combinations(range(3), k)]


class Law(Protocol):
    """A parametric loss surface.

    ``theta`` holds the published parameters of ``names`` on its last axis; ``phi`` the ``n_free``
    coordinates in which the solver works, scaled by the data.
    """

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
        """Parameter names, in the order of ``theta``."""
        ...

    @property
    def n_free(self) -> int:
        """How many of the parameters the data must determine."""
        ...

    @property
    def least_rows(self) -> int:
        """Rows below which the form is not tried."""
        ...

    @property
    def extra(self) -> str:
        """The third column the form needs: "" | "unique_tokens" | "batch_tokens"."""
        ...

    def predict(
        self, theta: Floats, params: Floats, tokens: Floats, extra: Floats | None = None
    ) -> Floats:
        """Return losses in nats per token, shape (..., n), for theta (..., P), points (..., n)."""
        ...

    def gradient(
        self, theta: Floats, params: Floats, tokens: Floats, extra: Floats | None = None
    ) -> Floats:
        """Return dL/dtheta, shape (..., n, P)."""
        ...

    def floor(self, theta: Floats, params: Floats) -> Floats:
        """Return the loss that remains with endless data at these sizes' best, shape (..., n)."""
        ...

    def optimal_params(self, theta: Floats, flops: float) -> Floats:
        """Return N*(C), shape (S,), of laws theta (S, P) where C = 6 N D."""
        ...

    def box(self, points: Points) -> tuple[Floats, Floats]:
        """Return the bounds of phi, each of shape (n_free,)."""
        ...

    def starts(self, points: Points) -> Floats:
        """Return separated starts, shape (S, n_free)."""
        ...

    def evaluate(self, points: Points, phi: Floats) -> tuple[Floats, Floats]:
        """Return ln L (B, n) and d ln L / d phi (B, n, n_free) for phi (B, n_free)."""
        ...

    def theta_of(self, points: Points, phi: Floats) -> Floats:
        """Turn phi (..., n_free) into theta (..., P)."""
        ...


@dataclass(frozen=True)
class PowerSum:
    """E + A N^-alpha + B D^-beta with some parameters shared.

    ``free`` says which coordinate of phi each of (ln E, ln a, ln b, alpha, beta) reads, with a and
    b the terms at the centre of the data. Held where it was published: N 57M-16B, C 1e18-1e22
    (Besiroglu et al. 2024); small transformers bend away from it below about 4,000 steps.
    """

    name: str
    formula: str
    free: tuple[int, ...]
    names: tuple[str, ...] = ("E", "A", "B", "alpha", "beta")
    least_rows: int = 5
    extra: str = ""

    @property
    def n_free(self) -> int:
        """How many parameters are free."""
        return max(self.free) + 1

    @property
    def tied(self) -> bool:
        """Say whether the exponents are one."""
        return self.free[3] == self.free[4]

    @property
    def expand(self) -> Floats:
        """The 0/1 matrix (5, n_free) that spreads the free parameters over the five."""
        return np.eye(self.n_free)[list(self.free)]

    def predict(
        self, theta: Floats, params: Floats, tokens: Floats, extra: Floats | None = None
    ) -> Floats:
        """Return losses in nats per token, shape (..., n)."""
        size, data = self._terms(theta, params, tokens)
        return theta[..., 0, None] + size + data

    def gradient(
        self, theta: Floats, params: Floats, tokens: Floats, extra: Floats | None = None
    ) -> Floats:
        """Return dL/d(E, A, B, alpha, beta), shape (..., n, 5)."""
        size, data = self._terms(theta, params, tokens)
        return np.stack(
            [
                np.ones_like(size),
                size / theta[..., 1, None],
                data / theta[..., 2, None],
                -np.log(params) * size,
                -np.log(tokens) * data,
            ],
            axis=-1,
        )

    def _terms(self, theta: Floats, params: Floats, tokens: Floats) -> tuple[Floats, Floats]:
        _, a, b, alpha, beta = (theta[..., i, None] for i in range(5))
        return a * np.asarray(params, float) ** -alpha, b * np.asarray(tokens, float) ** -beta

    def floor(self, theta: Floats, params: Floats) -> Floats:
        """Return E at every point, shape (..., n)."""
        return np.asarray(theta[..., 0, None] + np.zeros_like(params))

    def optimal_params(self, theta: Floats, flops: float) -> Floats:
        """Return N*(C), in closed form."""
        return optimal_params(theta, flops)

    def box(self, points: Points) -> tuple[Floats, Floats]:
        """Return the bounds of phi: no term below FLOOR of the least loss, none above the largest.

        E may exceed the least loss: one low outlier must not decide it. It is no less than what
        is known of it.
        """
        floor, top = np.log(FLOOR) + points.y.min(), points.y.max()
        low = np.array([max(floor, points.log_least), floor, floor, BOUNDS[0], BOUNDS[0]])
        high = np.array([top, top, top, BOUNDS[1], BOUNDS[1]])
        first = [self.free.index(p) for p in range(self.n_free)]
        return low[first], high[first]

    def starts(self, points: Points) -> Floats:
        """Return a start for every pair of GRID's exponents (tied: for every exponent).

        The terms are those of least squares: a non-negative problem in three variables, solved by
        trying every active set. The solver arrives from anywhere in the box, so a coarse grid does.
        """
        pairs = zip(GRID, GRID, strict=True) if self.tied else product(GRID, GRID)
        alpha, beta = np.array(list(pairs)).T
        least = FLOOR * 10 * np.exp(points.y.min())
        terms = np.maximum(_amplitudes(points, alpha, beta), least)
        first = [self.free.index(p) for p in range(self.n_free)]
        return np.column_stack([np.log(terms), alpha, beta])[:, first]

    def evaluate(self, points: Points, phi: Floats) -> tuple[Floats, Floats]:
        """Return ln L, shape (B, n), and d ln L / d phi, shape (B, n, n_free)."""
        log_loss, shares = log_terms(points, phi @ self.expand.T)
        return log_loss, slopes(points, shares) @ self.expand

    def theta_of(self, points: Points, phi: Floats) -> Floats:
        """Turn phi (..., n_free) into (E, A, B, alpha, beta)."""
        spread = phi @ self.expand.T
        logs = [
            spread[..., 0],
            spread[..., 1] + spread[..., 3] * points.x0,
            spread[..., 2] + spread[..., 4] * points.z0,
        ]
        return np.concatenate([np.exp(np.stack(logs, axis=-1)), spread[..., 3:]], axis=-1)


def log_terms(points: Points, spread: Floats) -> tuple[Floats, Floats]:
    """Return ln L (B, n) and the terms' shares of it (B, n, 3) for (ln E, ln a, ln b, ...)."""
    u = (
        np.broadcast_to(spread[:, 0, None], (len(spread), len(points))),
        spread[:, 1, None] - spread[:, 3, None] * points.x,
        spread[:, 2, None] - spread[:, 4, None] * points.z,
    )
    top = np.maximum(np.maximum(u[0], u[1]), u[2])
    shares = np.stack([np.exp(part - top) for part in u], axis=-1)
    total = shares[..., 0] + shares[..., 1] + shares[..., 2]
    return top + np.log(total), shares / total[..., None]


def slopes(points: Points, shares: Floats) -> Floats:
    """Return d ln L / d(ln E, ln a, ln b, alpha, beta), shape (B, n, 5)."""
    size, data = shares[..., 1], shares[..., 2]
    return np.stack([shares[..., 0], size, data, -points.x * size, -points.z * data], axis=-1)


def _amplitudes(points: Points, alpha: Floats, beta: Floats) -> Floats:
    """Return the best (E, a, b) >= 0, shape (G, 3), for relative errors at each exponent pair."""
    columns = (
        np.stack(
            [
                np.ones((len(alpha), len(points))),
                np.exp(-alpha[:, None] * points.x),
                np.exp(-beta[:, None] * points.z),
            ],
            axis=-1,
        )
        * np.exp(-points.y)[:, None]
    )
    weighted = columns * points.weights[:, None]
    gram, target = np.swapaxes(weighted, 1, 2) @ columns, weighted.sum(axis=1)
    return non_negative(gram, target)[0]


def non_negative(gram: Floats, target: Floats) -> tuple[Floats, Floats]:
    """Return the best coefficients >= 0, shape (G, 3), and the squares each explains, (G,).

    ``gram`` (G, 3, 3) and ``target`` (G, 3) are those of least squares; every active set is tried.
    """
    gram = gram + 1e-12 * np.trace(gram, axis1=1, axis2=2)[:, None, None] * np.eye(3)
    best, gain = np.zeros_like(target), np.zeros(len(target))
    for subset in _SUBSETS:
        solved = np.linalg.solve(gram[:, subset][:, :, subset], target[:, subset, None])[..., 0]
        explained = (solved * target[:, subset]).sum(axis=1)
        better = (solved >= 0).all(axis=1) & (explained > gain)
        gain = np.where(better, explained, gain)
        filled = np.zeros_like(best)
        filled[:, subset] = solved
        best = np.where(better[:, None], filled, best)
    return best, gain


CHINCHILLA = PowerSum("chinchilla", "E + A N^-alpha + B D^-beta", (0, 1, 2, 3, 4))
CHINCHILLA_TIED = PowerSum("chinchilla-tied", "E + A N^-alpha + B D^-alpha", (0, 1, 2, 3, 3))


def optimal_params(theta: Floats, flops: float | Floats) -> Floats:
    """Return N*(C), shape (...), of laws theta (..., 5) where C = 6 N D; D* is C / 6 N*.

    N* = G (C/6)^(beta/(alpha+beta)) with G = (alpha A / beta B)^(1/(alpha+beta)).
    """
    _, a, b, alpha, beta = np.moveaxis(np.asarray(theta, float), -1, 0)
    log_ratio = np.log(alpha) + np.log(a) - np.log(beta) - np.log(b)
    return np.asarray(np.exp((log_ratio + beta * np.log(np.asarray(flops) / 6.0)) / (alpha + beta)))
