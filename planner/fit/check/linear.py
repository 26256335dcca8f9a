"""One test for many faults: a direction may explain residuals that the law cannot.

A fault adds  s f_i  to the log losses, f its direction (1 on the rows of one size, the square of
ln N, ...). Part of it is absorbed by the law's own parameters; what is left is tested. With J the
slopes d ln L / d theta, V the covariance of the noise, M = 1 - J (J' V^-1 J)^-1 J' V^-1:

    s = f' V^-1 M r / f' V^-1 M f,      t = s / se(s)        (added-variable or score test)

Rows of one group share noise: V = (1 - rho) 1 + rho (same group), rho by restricted likelihood with
a prior centred on .4 and a bound, so that five trunks are not taken for five certainties.
Degrees of freedom follow Satterthwaite: what rests on differences between groups has few.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import fdtrc, stdtr

from planner.arrays import Floats
from planner.fit.check.groups import totals
from planner.fit.laws import Law
from planner.observations import Observations

RHO = np.linspace(0.0, 0.6, 13)
"""Trials of the share of noise that a group has in common: at most 1.5 times its rows' own."""
RHO_PRIOR = (2.0, 3.0)
"""Beta prior of the share of noise variance that rows of one group have in common."""
PRIOR_FREEDOM = 4.0
"""What that prior is worth, in degrees of freedom between groups."""
ABSORBED = 1e-6
"""A direction of which less than this share of its square is left cannot be tested."""
SINGULAR = 1e-9


@dataclass(frozen=True)
class Score:
    """Tests of K directions: size s in ln loss, t, its degrees of freedom; each of shape (K,)."""

    size: Floats
    t: Floats
    freedom: Floats

    def p(self, *, one_sided: bool = False) -> Floats:
        """Return the chance of such a t without the fault (one-sided: faults only raise losses)."""
        if one_sided:
            return np.asarray(stdtr(self.freedom, -self.t))
        return np.asarray(2.0 * stdtr(self.freedom, -np.abs(self.t)))


@dataclass(frozen=True)
class Linear:
    """A law linearised at its fit: log residuals ``r`` (n,), groups, rho, and slopes (n, P).

    The slopes are d ln L / d theta over ``scale`` (P,), so that no parameter's unit matters.
    """

    r: Floats
    slopes: Floats
    scale: Floats
    group: np.ndarray
    rho: float

    @classmethod
    def of(cls, observations: Observations, law: Law, theta: Floats) -> Linear:
        """Linearise at ``theta`` (P,), parameters in the law's own order."""
        o = observations
        extra = getattr(o, law.extra) if law.extra else None
        predicted = law.predict(theta, o.params, o.tokens, extra)
        slopes = law.gradient(theta, o.params, o.tokens, extra) / predicted[:, None]
        scale = np.abs(slopes).max(axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        plain = cls(np.log(o.loss / predicted), slopes / scale, scale, np.asarray(o.group), 0.0)
        return plain.with_shared_noise()

    def with_shared_noise(self) -> Linear:
        """Estimate the share of noise that rows of one group have in common."""
        names, group = np.unique(self.group, return_inverse=True)
        plain = replace(self, group=group, rho=0.0)
        if len(names) == len(group):
            return plain
        trials = [replace(plain, rho=float(rho)) for rho in RHO]
        return trials[int(np.argmax([trial._log_posterior() for trial in trials]))]

    def take(self, rows: np.ndarray) -> Linear:
        """Return the same linearisation of fewer rows."""
        fewer = replace(self, r=self.r[rows], slopes=self.slopes[rows], group=self.group[rows])
        return fewer.with_shared_noise()

    def score(self, directions: Floats) -> Score:
        """Test each column of ``directions`` (n, K) beside the law."""
        basis = self._basis()
        left, r = self._without(basis, directions), self._without(basis, self.r[:, None])[:, 0]
        square = (left**2).sum(axis=0)
        whole = (self._white(directions) ** 2).sum(axis=0)
        kept = square > ABSORBED * np.maximum(whole, 1e-300)
        size = np.where(kept, left.T @ r / np.where(kept, square, 1.0), 0.0)
        freedom = max(len(r) - basis.shape[1] - 1, 1)
        variance = np.maximum(r @ r - size**2 * square, 1e-300) / freedom
        t = size * np.sqrt(square / variance)
        return Score(size, t, self._freedom(left / np.maximum(square, 1e-300), freedom))

    def together(self, directions: Floats) -> tuple[float, float]:
        """Return F and its p for all columns of ``directions`` (n, K) at once."""
        basis = self._basis()
        left, r = self._without(basis, directions), self._without(basis, self.r[:, None])[:, 0]
        u, s, _ = np.linalg.svd(left, full_matrices=False)
        u = u[:, s > np.sqrt(ABSORBED) * np.linalg.norm(self._white(directions))]
        extra = u.shape[1]
        freedom = len(r) - basis.shape[1] - extra
        if extra < 1 or freedom < 2:
            return 0.0, 1.0
        explained = float(((u.T @ r) ** 2).sum())
        ratio = explained / extra / max((float(r @ r) - explained) / freedom, 1e-300)
        return ratio, float(fdtrc(extra, freedom, ratio))

    @property
    def sigma(self) -> float:
        """Return the residual sd of ln loss after the law."""
        basis = self._basis()
        r = self._without(basis, self.r[:, None])
        return float(np.sqrt((r**2).sum() / max(len(r) - basis.shape[1], 1)))

    def left(self) -> Floats:
        """Return residuals (n,) after the law's best linear correction, noise counted alike."""
        alone = replace(self, rho=0.0)
        return np.asarray(alone._without(alone._basis(), self.r[:, None])[:, 0])

    def standard(self, scale: Floats) -> Floats:
        """Return |residuals| (n,) of a fit that trusts rows as 1 / scale^2, freed of leverage.

        What the rows of a group share is taken out.
        """
        own = np.column_stack([self.slopes, self.r]) / scale[:, None]
        taken = np.zeros(len(scale))
        if len(np.unique(self.group)) < len(self.r):
            weight = totals(scale[:, None] ** -2.0, self.group)[self.group]
            unit = 1.0 / (scale[:, None] * np.sqrt(weight))
            own -= unit * totals(unit * own, self.group)[self.group]
            taken = unit[:, 0] ** 2
        u, s, _ = np.linalg.svd(own[:, :-1], full_matrices=False)
        basis, r = u[:, s > SINGULAR * s[0]], own[:, -1]
        room = np.maximum(1.0 - taken - (basis**2).sum(axis=1), 0.05)
        return np.asarray(scale * np.abs(r - basis @ (basis.T @ r)) / np.sqrt(room))

    def _white(self, columns: Floats) -> Floats:
        if self.rho == 0.0:
            return columns
        count = np.bincount(self.group)
        keep = 1.0 - np.sqrt((1.0 - self.rho) / (1.0 - self.rho + self.rho * count))
        shared = totals(columns, self.group) * (keep / count)[:, None]
        return np.asarray((columns - shared[self.group]) / np.sqrt(1.0 - self.rho))

    def _basis(self) -> Floats:
        u, s, _ = np.linalg.svd(self._white(self.slopes), full_matrices=False)
        return np.asarray(u[:, s > SINGULAR * s[0]])

    def _without(self, basis: Floats, columns: Floats) -> Floats:
        white = self._white(columns)
        return np.asarray(white - basis @ (basis.T @ white))

    def _freedom(self, estimators: Floats, freedom: int) -> Floats:
        """Return Satterthwaite's degrees of freedom of whitened estimators (n, K)."""
        if self.rho in (0.0, RHO[-1]):  # at the bound the noise within groups tells that between
            return np.full(estimators.shape[1], float(freedom))
        rows = self._white(estimators)  # V^-1/2 is symmetric: weights on the raw residuals
        shared = self.rho * (totals(rows, self.group) ** 2).sum(axis=0)
        own = (1.0 - self.rho) * (rows**2).sum(axis=0)
        share = shared / np.maximum(shared + own, 1e-300)
        between = max(len(np.unique(self.group)) - self.slopes.shape[1], 0) + PRIOR_FREEDOM
        return np.asarray(1.0 / (share**2 / between + (1.0 - share) ** 2 / freedom))

    def _log_posterior(self) -> float:
        count = np.bincount(self.group)
        white = self._white(self.slopes)
        basis = self._basis()
        r = self._without(basis, self.r[:, None])
        spread = np.linalg.svd(white, compute_uv=False)
        log_v = (len(self.r) - len(count)) * np.log1p(-self.rho)
        log_v += np.log1p(self.rho * (count - 1.0)).sum()
        freedom = len(self.r) - basis.shape[1]
        a, b = RHO_PRIOR
        prior = (a - 1) * np.log(max(self.rho, 1e-3)) + (b - 1) * np.log1p(-self.rho)
        likelihood = -0.5 * (log_v + freedom * np.log(max(float((r**2).sum()), 1e-300)))
        likelihood -= np.log(spread[: basis.shape[1]]).sum()
        return float(likelihood + prior)
