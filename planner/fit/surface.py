"""The loss over size, horizon, batch and learning rate as one posterior, from any scatter of runs.

    L(N, D, B, lr) = L0[N, D] + w (k(u) u^2 + h(v) v^2),   u = ln lr - ln lr*,  v = ln B - ln B*
    ln w   = m ln(N/N0) + t ln(D/D0)
    ln lr* = a + p ln(N/N0) + q ln(D/D0) - ln(1 + B_s(D)/B) + scatter[N, D]
    ln B_s = s + g ln(D/D0)
    ln B*  = c + r ln(D/D0) + scatter[N, D]

k and h have one value below the optimum and one above; all basins grow deeper or shallower with
size and horizon by the same w. Every (N, D) has a floor L0 of its own, as
good as free: only differences inside a cell speak of the basin. Every (N, D) also scatters round
the laws, so that many runs of one cell never count as many cells.

Unlike :mod:`planner.fit.cells`, which reads each basin by itself and needs three learning rates
in it, this uses every run, so a design may put its runs anywhere. MAP by damped Gauss-Newton under
Student noise (t, 4 degrees of freedom); normal priors of :mod:`planner.fit.priors`; covariance by
the curvature at the maximum. A run that diverged is a bound: lr* lies well below it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from planner.arrays import Floats
from planner.fit.priors import Normal, Priors
from planner.fit.unknowns import CURVATURE, DEPTH, SHARED, Unknowns

FAR = 0.25
"""Share of a run's excess over its floor that counts as noise: no basin is a parabola far out."""

DIVERGED, DIVERGED_SD = float(np.log(2)), 0.4
"""A run that diverged is believed to lie a factor of two or more above lr*, within this sd."""

FLOOR_SD = 0.3
"""sd of a floor round the mean loss in nats: as good as free against basins of .01-.1."""

TAIL = 4.0
"""Degrees of freedom of the noise."""

STEPS, ENOUGH, LONGEST = 40, 1e-7, 1.0
"""Gauss-Newton steps at most, the gain that ends them, the longest step of a shared unknown."""


class Rows(Protocol):
    """Runs or candidates as arrays (n,); tokens are horizons, ``lr`` peak learning rates."""

    @property
    def params(self) -> Floats: ...  # noqa: D102

    @property
    def tokens(self) -> Floats: ...  # noqa: D102

    @property
    def batch_tokens(self) -> Floats: ...  # noqa: D102

    @property
    def lr(self) -> Floats: ...  # noqa: D102


@dataclass(frozen=True)
class Surface:
    """Normal posterior of theta; ``cells`` (K, 2) are the N and D whose floors it holds."""

    prior: Priors
    cells: Floats
    mean: Floats
    covariance: Floats
    sigma: float
    """sd of one run's loss, nats."""
    reach: float = 0.0
    """Largest N D of a run that was given, 0 before any; beyond it forecasts drift."""

    @classmethod
    def believed(cls, prior: Priors, cells: Floats, sigma: float | None = None) -> Self:
        """Return the prior over cells (K, 2) of N and D, before any run; losses are near zero."""
        mean, precision = _beliefs(prior, len(cells), 0.0)
        covariance = np.asarray(np.linalg.inv(precision), dtype=np.float64)
        return cls(prior, cells, mean, covariance, sigma or prior.seed_noise)

    def given(self, runs: Rows, loss: Floats) -> Self:
        """Return the posterior after runs (n,) with losses (n,), nan where diverged.

        All runs there are must be given: what this surface has learnt before is not used, only its
        prior. Raises ValueError for a run outside the cells.
        """
        done = np.isfinite(loss)
        centre = float(loss[done].mean()) if done.any() else 0.0
        mean, believed = _beliefs(self.prior, len(self.cells), centre)
        problem = _Problem(self._at(runs), loss, done, mean, believed, self.sigma)
        theta, precision = problem.solve()
        covariance = np.asarray(cho_solve(cho_factor(precision), np.eye(len(theta))))
        reach = float((runs.params * runs.tokens).max(initial=0.0))
        return type(self)(self.prior, self.cells, theta, covariance, self.sigma, reach)

    def gradient(self, rows: Rows, theta: Floats) -> tuple[Floats, Floats]:
        """Return dL/dtheta (n, P) and the noise variance (n,) of runs at ``rows`` under theta."""
        at = self._at(rows)
        loss = at.loss(theta)
        return loss.jacobian, _variance(loss.excess, self.sigma)

    def excess(self, rows: Rows, theta: Floats) -> Floats:
        """Return how far (n,) runs at ``rows`` lie above their cells' floors under theta, nats.

        Under the mean it is what their lr and batch are known to cost them.
        """
        return self._at(rows).loss(theta).excess

    def draws(self, size: int, rng: np.random.Generator) -> Floats:
        """Return draws (size, P) of theta."""
        values, vectors = np.linalg.eigh(self.covariance)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        return np.asarray(self.mean + rng.normal(size=(size, len(self.mean))) @ root.T)

    def floors(self) -> tuple[Floats, Floats]:
        """Return the cells' floors L0 (K,) in nats and their sd (K,): the loss at lr* and B*."""
        where = Unknowns(len(self.cells)).floor(np.arange(len(self.cells)))
        return self.mean[where], np.sqrt(np.diag(self.covariance)[where])

    def optimum(self, params: float, tokens: float, batch_tokens: float) -> tuple[float, float]:
        """Return ln lr* at a batch and ln B*, by the mean; a known cell's own scatter included."""
        n, d = np.log(params / self.prior.params), np.log(tokens / self.prior.tokens)
        a, p, q, s, g, c, r = self.mean[:7]
        saturation = np.logaddexp(0.0, s + g * d - np.log(batch_tokens))
        known = np.flatnonzero(np.abs(np.log(self.cells / [params, tokens])).max(axis=1) <= SAME)
        at = Unknowns(len(self.cells))
        own_lr, own_batch = (self.mean[at.lr(known)].sum(), self.mean[at.batch(known)].sum())
        return float(a + p * n + q * d - saturation + own_lr), float(c + r * d + own_batch)

    def _at(self, rows: Rows) -> _Located:
        place = np.log(np.stack([rows.params, rows.tokens], axis=1))
        away = np.abs(place[:, None] - np.log(self.cells)).max(axis=2)
        cell = away.argmin(axis=1)
        if away[np.arange(len(cell)), cell].max(initial=0.0) > SAME:
            raise ValueError("a run lies outside the cells of the surface; name its (N, D) too")
        n, d = (place - np.log([self.prior.params, self.prior.tokens])).T
        known = Unknowns(len(self.cells))
        return _Located(n, d, np.log(rows.batch_tokens), np.log(rows.lr), cell, known)


SAME = 5e-3
"""Sizes and horizons this close, relatively, are one cell."""


class Loss(NamedTuple):
    """Predicted losses (n,), the excess over the floor (n,), u (n,), du/dtheta and dL/dtheta."""

    loss: Floats
    excess: Floats
    off_lr: Floats
    off_lr_jacobian: Floats
    jacobian: Floats


@dataclass(frozen=True)
class _Located:
    """Rows in the surface's coordinates: logs of N/N0, D/D0, B and lr, and their cell."""

    n: Floats
    d: Floats
    b: Floats
    x: Floats
    cell: np.ndarray
    known: Unknowns

    def loss(self, theta: Floats) -> Loss:
        """Return the losses under theta (P,) with their derivatives."""
        a, p, q, s, g, c, r = theta[:7]
        depth = theta[11] * self.n + theta[12] * self.d
        low, high, small, large = np.exp(theta[CURVATURE, None] + depth)
        rows, known = np.arange(len(self.n)), self.known
        above = s + g * self.d - self.b
        share = np.exp(above - np.logaddexp(0.0, above))
        log_lr = a + p * self.n + q * self.d - np.logaddexp(0.0, above)
        u = self.x - log_lr - theta[known.lr(self.cell)]
        v = self.b - c - r * self.d - theta[known.batch(self.cell)]
        k, h = np.where(u < 0, low, high), np.where(v < 0, small, large)
        towards = np.zeros((len(u), known.size))
        towards[:, :5] = -np.stack(
            [np.ones_like(u), self.n, self.d, -share, -share * self.d], axis=1
        )
        towards[rows, known.lr(self.cell)] = -1.0
        jacobian = (2 * k * u)[:, None] * towards
        jacobian[:, 5], jacobian[:, 6] = -2 * h * v, -2 * h * v * self.d
        jacobian[rows, known.batch(self.cell)] = -2 * h * v
        sides = [(u < 0, k * u * u), (u >= 0, k * u * u), (v < 0, h * v * v), (v >= 0, h * v * v)]
        jacobian[:, CURVATURE] = np.stack([np.where(on, part, 0.0) for on, part in sides], axis=1)
        jacobian[rows, known.floor(self.cell)] = 1.0
        excess = k * u * u + h * v * v
        jacobian[:, DEPTH] = excess[:, None] * np.stack([self.n, self.d], axis=1)
        return Loss(theta[known.floor(self.cell)] + excess, excess, u, towards, jacobian)


@dataclass(frozen=True)
class _Problem:
    """The posterior of theta given losses: value, and the normal equations of one step."""

    at: _Located
    observed: Floats
    done: np.ndarray
    centre: Floats
    believed: Floats
    """Precision (P, P) of the beliefs round their centre."""
    sigma: float

    def solve(self) -> tuple[Floats, Floats]:
        """Return the maximum (P,) and the precision (P, P) there."""
        theta, damping = self._start(), 1e-2
        value = self._value(theta)
        for _ in range(STEPS):
            precision, slope = self._equations(theta)
            step, gain, damping = self._step(theta, value, (precision, slope), damping)
            theta, value = theta + step, value - gain
            if gain < ENOUGH:
                break
        return theta, self._equations(theta)[0]

    def _start(self) -> Floats:
        theta = self.centre.copy()
        for cell in np.unique(self.at.cell[self.done]):
            here = self.done & (self.at.cell == cell)
            theta[self.at.known.floor(cell)] = self.observed[here].min()
        return theta

    def _step(
        self, theta: Floats, value: float, equations: tuple[Floats, Floats], damping: float
    ) -> tuple[Floats, float, float]:
        """Return a step that gains, what it gains and the next damping; zeros where none does."""
        precision, slope = equations
        for _ in range(12):
            damped = precision + damping * np.diag(np.diag(precision))
            step = np.asarray(cho_solve(cho_factor(damped), slope))
            step[:SHARED] = np.clip(step[:SHARED], -LONGEST, LONGEST)
            gain = value - self._value(theta + step)
            if gain > 0:
                return step, gain, max(damping / 5, 1e-6)
            damping *= 5
        return np.zeros_like(theta), 0.0, damping

    def _value(self, theta: Floats) -> float:
        """Return minus the log posterior, but for a constant."""
        loss = self.at.loss(theta)
        variance = _variance(loss.excess, self.sigma)[self.done]
        z2 = (self.observed - loss.loss)[self.done] ** 2 / variance
        noise = (TAIL + 1) / 2 * np.log1p(z2 / TAIL) + np.log(variance) / 2
        bound = self._missing(loss) ** 2 / 2
        off = theta - self.centre
        return float(noise.sum() + bound.sum() + off @ self.believed @ off / 2)

    def _equations(self, theta: Floats) -> tuple[Floats, Floats]:
        loss, done = self.at.loss(theta), self.done
        jacobian, variance = loss.jacobian[done], _variance(loss.excess, self.sigma)[done]
        left = (self.observed - loss.loss)[done]
        weight = (TAIL + 1) / (TAIL + left**2 / variance) / variance
        missing = self._missing(loss)
        bound = -loss.off_lr_jacobian[~done][missing > 0] / DIVERGED_SD
        precision = self.believed + jacobian.T @ (weight[:, None] * jacobian)
        slope = jacobian.T @ (weight * left) - bound.T @ missing[missing > 0]
        return precision + bound.T @ bound, slope - self.believed @ (theta - self.centre)

    def _missing(self, loss: Loss) -> Floats:
        """Return by how many sd diverged runs lie too near lr*, 0 where far enough."""
        near = np.maximum(DIVERGED - loss.off_lr[~self.done], 0.0)
        return np.asarray(near / DIVERGED_SD)


def _variance(excess: Floats, sigma: float) -> Floats:
    return np.asarray(sigma**2 + (FAR * excess) ** 2)


def _beliefs(prior: Priors, cells: int, loss: float) -> tuple[Floats, Floats]:
    """Return mean (P,) and precision (P, P) of theta before any run."""
    laws: list[Normal] = [prior.level, prior.size_slope, prior.token_slope, prior.noise_batch]
    laws += [prior.noise_batch_slope, prior.batch, prior.batch_slope]
    laws += [prior.log_k_low, prior.log_k_high, prior.log_k_batch, prior.log_k_batch]
    laws += [prior.depth_slope, prior.depth_slope]
    own = [Normal(loss, FLOOR_SD), Normal(0.0, prior.lr_scatter), Normal(0.0, prior.batch_scatter)]
    every = laws + [belief for belief in own for _ in range(cells)]
    precision = np.diag([b.sd**-2.0 for b in every])
    if prior.sides is not None:
        apart = np.array([[1.0, -1.0], [-1.0, 1.0]]) / prior.sides**2
        precision[CURVATURE, CURVATURE] += np.kron(np.eye(2), apart)
    return np.array([b.mean for b in every]), precision
