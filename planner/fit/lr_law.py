"""The law of the best learning rate, fitted to cells by MAP.

    ln lr*(N, D, B) = a + p ln(N/N0) + q ln(D/D0) - ln(1 + B_s(D)/B),   ln B_s = s + g ln(D/D0)

It saturates in B: linear far below B_s, a square root near it, flat above (a power of B fits the
published optima with twice the residual). Hence lr* may fall with D at a small batch and rise at a
large one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.optimize import least_squares
from scipy.special import expit

from planner.arrays import Floats
from planner.fit.cells import Cell
from planner.fit.priors import Normal, Priors

NAMES = ("level", "size_slope", "token_slope", "noise_batch", "noise_batch_slope")
"""a, p, q, s, g: the fields of Priors, in the order of the parameter vector."""


@dataclass(frozen=True)
class LrLaw:
    """Normal posterior of (a, p, q, s, g) at an anchor (N0, D0)."""

    anchor: tuple[float, float]
    mean: Floats
    covariance: Floats

    def predict(self, params: float, tokens: float, batch_tokens: float) -> tuple[float, float]:
        """Return mean and sd of ln lr* by the law alone (no scatter, no drift)."""
        where = self._where(params, tokens, batch_tokens)
        slope = _gradient(self.mean, where)[0]
        return float(_law(self.mean, where)[0]), float(np.sqrt(slope @ self.covariance @ slope))

    def draws(self, params: float, tokens: float, batch_tokens: float, normals: Floats) -> Floats:
        """Return ln lr* (S,) for standard normals (S, 5)."""
        values, vectors = np.linalg.eigh(self.covariance)
        theta = self.mean + normals * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
        return _law(
            np.asarray(theta.T, dtype=np.float64), self._where(params, tokens, batch_tokens)
        )

    def own_share(self, prior: Priors) -> float:
        """Return 1 - posterior/prior variance, averaged over a, p and q."""
        kept = np.diag(self.covariance)[:3] / np.array([b.sd for b in _beliefs(prior)[:3]]) ** 2
        return float(np.clip(1 - kept, 0.0, 1.0).mean())

    def conflicts(self, prior: Priors) -> dict[str, float]:
        """Return, per parameter the data speak to, how far they moved it, in sd of that move."""
        moved = {}
        for name, belief, mean, variance in zip(
            NAMES, _beliefs(prior), self.mean, np.diag(self.covariance), strict=True
        ):
            learnt = belief.sd**2 - variance
            if learnt > SPOKEN * belief.sd**2:
                moved[name] = float((mean - belief.mean) / np.sqrt(learnt))
        return moved

    def to_json(self) -> dict[str, Any]:
        """Return the posterior as plain data."""
        return {
            "anchor": list(self.anchor),
            "names": list(NAMES),
            "mean": self.mean.tolist(),
            "covariance": self.covariance.tolist(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read the posterior back from plain data."""
        anchor = (data["anchor"][0], data["anchor"][1])
        return cls(anchor, np.array(data["mean"]), np.array(data["covariance"]))

    def _where(self, params: float, tokens: float, batch_tokens: float) -> Floats:
        ratios = (params / self.anchor[0], tokens / self.anchor[1], batch_tokens)
        return np.asarray(np.log([ratios]), dtype=np.float64)


SPOKEN = 0.05
"""Share of the prior variance that data must remove before they are said to speak."""


def fit_lr_law(cells: Sequence[Cell], prior: Priors) -> LrLaw:
    """Return the MAP and its Laplace covariance; without cells, the prior itself."""
    anchor, beliefs = (prior.params, prior.tokens), _beliefs(prior)
    centre = np.array([belief.mean for belief in beliefs])
    sd = np.array([belief.sd for belief in beliefs])
    if not cells:
        return LrLaw(anchor, centre, np.diag(sd**2))
    where = np.log([(c.params / anchor[0], c.tokens / anchor[1], c.batch_tokens) for c in cells])
    y = np.array([cell.basin.x for cell in cells])
    noise = np.hypot([cell.basin.sd for cell in cells], prior.lr_scatter)

    def residuals(theta: Floats) -> Floats:
        return np.concatenate([(_law(theta, where) - y) / noise, (theta - centre) / sd])

    def jacobian(theta: Floats) -> Floats:
        return np.concatenate([_gradient(theta, where) / noise[:, None], np.diag(1 / sd)])

    found = least_squares(residuals, centre, jac=jacobian, method="lm")
    slope = jacobian(found.x)
    covariance = np.asarray(np.linalg.inv(slope.T @ slope), dtype=np.float64)
    return LrLaw(anchor, found.x, covariance)


def _beliefs(prior: Priors) -> tuple[Normal, ...]:
    return tuple(getattr(prior, name) for name in NAMES)


def _law(theta: Floats, where: Floats) -> Floats:
    """Return ln lr* (n,) at where (n, 3) = ln(N/N0), ln(D/D0), ln B; theta (5,) or (5, n)."""
    a, p, q, s, g = theta
    size, tokens, batch = where.T
    return np.asarray(
        a + p * size + q * tokens - np.logaddexp(0.0, s + g * tokens - batch), dtype=np.float64
    )


def _gradient(theta: Floats, where: Floats) -> Floats:
    size, tokens, batch = where.T
    share = expit(theta[3] + theta[4] * tokens - batch)
    return np.stack([np.ones_like(size), size, tokens, -share, -share * tokens], axis=1)
