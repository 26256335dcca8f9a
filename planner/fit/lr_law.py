"""The law of the best learning rate, fitted to cells by MAP.

The forms are those of ``lr_forms``. A cell's ln lr* scatters round the law by more than its own
interval says; the scatter is estimated with the law, by the Laplace evidence under a log-normal
belief, and is part of every prediction:

    y_c ~ N(law(theta, c), s_c^2 + scatter^2),   theta ~ beliefs,   ln scatter ~ N(ln prior, .4^2)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.optimize import least_squares

from planner.arrays import Floats
from planner.fit.cells import Cell
from planner.fit.lr_forms import FORMS, SATURATING, LrForm
from planner.fit.priors import Priors

SCATTER_SD, SCATTERS = 0.4, np.exp(np.linspace(-1.2, 1.2, 13))
"""sd of ln scatter, and the factors on the believed scatter that are tried (three sd)."""

SPOKEN = 0.05
"""Share of the prior variance that data must remove before they are said to speak."""


@dataclass(frozen=True)
class LrLaw:
    """Normal posterior of a form's parameters at an anchor (N0, D0, B0)."""

    form: LrForm
    anchor: tuple[float, float, float]
    mean: Floats
    covariance: Floats
    scatter: float
    """sd of ln lr* of single cells round the law."""

    def predict(self, params: float, tokens: float, batch_tokens: float) -> tuple[float, float]:
        """Return mean and sd of ln lr* by the law alone (no scatter, no drift)."""
        where = self._where(params, tokens, batch_tokens)
        slope = self.form.gradient(self.mean, where)[0]
        variance = slope @ self.covariance @ slope
        return float(self.form.value(self.mean, where)[0]), float(np.sqrt(variance))

    def draws(self, params: float, tokens: float, batch_tokens: float, normals: Floats) -> Floats:
        """Return ln lr* (S,) for standard normals (S, k), k the number of parameters."""
        values, vectors = np.linalg.eigh(self.covariance)
        theta = self.mean + normals * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
        where = self._where(params, tokens, batch_tokens)
        return self.form.value(np.asarray(theta.T, dtype=np.float64), where)

    def own_share(self, prior: Priors) -> float:
        """Return 1 - posterior/prior variance, averaged over a, p and q."""
        before = np.array([b.sd for b in self.form.beliefs(prior)[:3]]) ** 2
        return float(np.clip(1 - np.diag(self.covariance)[:3] / before, 0.0, 1.0).mean())

    def conflicts(self, prior: Priors) -> dict[str, float]:
        """Return, per parameter the data speak to, how far they moved it, in sd of that move."""
        moved = {}
        beliefs = self.form.beliefs(prior)
        for name, belief, mean, variance in zip(
            self.form.parameters, beliefs, self.mean, np.diag(self.covariance), strict=True
        ):
            learnt = belief.sd**2 - variance
            if learnt > SPOKEN * belief.sd**2:
                moved[name] = float((mean - belief.mean) / np.sqrt(learnt))
        return moved

    def to_json(self) -> dict[str, Any]:
        """Return the posterior as plain data."""
        return {
            "form": self.form.name,
            "anchor": list(self.anchor),
            "names": list(self.form.parameters),
            "mean": self.mean.tolist(),
            "covariance": self.covariance.tolist(),
            "scatter": self.scatter,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read the posterior back from plain data."""
        n0, d0, b0 = data["anchor"]
        mean, covariance = np.array(data["mean"]), np.array(data["covariance"])
        return cls(FORMS[data["form"]], (n0, d0, b0), mean, covariance, data["scatter"])

    def _where(self, params: float, tokens: float, batch_tokens: float) -> Floats:
        n0, d0, b0 = self.anchor
        return np.log([[params / n0, tokens / d0, batch_tokens / b0]])


def fit_lr_law(cells: Sequence[Cell], prior: Priors, form: LrForm = SATURATING) -> LrLaw:
    """Return the MAP, its Laplace covariance and the scatter; without cells, the prior itself."""
    if not cells:
        mean, sd = np.array([(belief.mean, belief.sd) for belief in form.beliefs(prior)]).T
        return LrLaw(form, _anchor(prior, form), mean, np.diag(sd**2), prior.lr_scatter)
    scatters = prior.lr_scatter * SCATTERS
    log_belief = -0.5 * (np.log(SCATTERS) / SCATTER_SD) ** 2
    evidence = [_law(cells, prior, form, float(scatter))[1] for scatter in scatters] + log_belief
    weight = np.exp(evidence - evidence.max())
    typical = float(np.exp(weight @ np.log(scatters) / weight.sum()))
    return _law(cells, prior, form, typical)[0]


def _anchor(prior: Priors, form: LrForm) -> tuple[float, float, float]:
    return prior.params, prior.tokens, float(np.exp(form.log_batch(prior)))


def _law(cells: Sequence[Cell], prior: Priors, form: LrForm, scatter: float) -> tuple[LrLaw, float]:
    """Return the law at a given scatter, and the log evidence of that scatter."""
    anchor = _anchor(prior, form)
    centre, sd = np.array([(belief.mean, belief.sd) for belief in form.beliefs(prior)]).T
    places = [(cell.params, cell.tokens, cell.batch_tokens) for cell in cells]
    where = np.log(np.array(places) / anchor)
    y = np.array([cell.basin.x for cell in cells])
    noise = np.hypot([cell.basin.sd for cell in cells], scatter)

    def residuals(theta: Floats) -> Floats:
        return np.concatenate([(form.value(theta, where) - y) / noise, (theta - centre) / sd])

    def jacobian(theta: Floats) -> Floats:
        own = form.gradient(theta, where) / noise[:, None]
        return np.concatenate([own, np.diag(1 / sd)])

    found = least_squares(residuals, centre, jac=jacobian, method="lm")
    slope = jacobian(found.x)
    information = slope.T @ slope
    evidence = -found.cost - np.log(noise).sum() - 0.5 * np.linalg.slogdet(information)[1]
    covariance = np.asarray(np.linalg.inv(information), dtype=np.float64)
    return LrLaw(form, anchor, found.x, covariance, scatter), float(evidence)
