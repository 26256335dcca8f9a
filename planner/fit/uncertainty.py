"""Statistical draws of a law: what noise, seeds and design leave open when the law is right.

Two methods, chosen from the data and named in the result:

- ``posterior`` (few runs, or few independent groups): ln L_i = ln L(phi; N_i, D_i) + noise, noise
  equicorrelated (rho) inside a group, sigma integrated out, so that the draws have the t tails of
  n - P degrees of freedom and follow the curved E-alpha ridge:

      ln p = -(n + nu0)/2 ln(r' V(rho)^-1 r + nu0 s0^2) - 1/2 ln|V(rho)| + ln prior

  with alpha, beta ~ LogNormal(ln .4, .5), shares of (E, size term, data term) at the centre of the
  data uniform on the simplex, rho uniform. Sampled by differential evolution (ter Braak 2006).
- ``sandwich`` (many independent runs): phi + t * HC3 square root, antithetic; right for any tails.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.arrays import Floats
from planner.fit.laws import PowerSum
from planner.fit.solve import BOUNDS, Points, Solution, jacobian, residuals

EXPONENT_CENTRE, EXPONENT_SD = float(np.log(0.4)), 0.5
"""Prior of ln alpha and ln beta (science F4.2): published laws lie within .25 to .7."""
NOISE_PRIOR = (1.0, 0.005)
"""Degrees of freedom and sd of ln L: run-to-run noise of small transformers is .002 to .01."""
MANY_RUNS, MANY_GROUPS = 60, 30
"""From here on the sandwich is right and the posterior is only slow."""
OUTLIER = 3.0
"""Residuals beyond this many robust sd are downweighted, as a Huber loss would."""
GENERATIONS = 400


@dataclass(frozen=True)
class Draws:
    """Draws (S, 5) of (ln E, ln a, ln b, alpha, beta), the most probable of them, and the method.

    ``rho`` is the median correlation inside a group, ``told`` the share of the prior's sd of
    (ln alpha, ln beta) that is left: near 1 the data said nothing.
    """

    phi: Floats
    mode: Floats
    method: str
    rho: float
    told: Floats


def noise_scale(r: Floats, n_free: int) -> float:
    """Return the robust sd of residuals (n,) after ``n_free`` fitted parameters (median of |r|)."""
    n = len(r)
    largest = np.sort(np.abs(r))[min(n_free, n - 1) :] if n > n_free else np.abs(r)
    return float(1.4826 * np.median(largest))


def draw(
    points: Points, law: PowerSum, solution: Solution, group: tuple[str, ...], size: int, seed: int
) -> Draws:
    """Draw ``size`` parameter vectors for the law given the points."""
    rng = np.random.default_rng(seed)
    if len(points.x) >= MANY_RUNS and len(set(group)) >= MANY_GROUPS and not solution.at_bound:
        return _sandwich(points, law, solution, group, size, rng)
    return _posterior(points, law, solution, group, size, rng)


def _told(phi: Floats) -> Floats:
    return np.asarray(np.log(phi[:, 3:]).std(axis=0) / EXPONENT_SD)


def _sandwich(
    points: Points,
    law: PowerSum,
    solution: Solution,
    group: tuple[str, ...],
    size: int,
    rng: np.random.Generator,
) -> Draws:
    r, shares = residuals(points, solution.phi[None])
    jac = jacobian(points, shares)[0] @ law.expand
    weight = points.weights * _outlier_weights(r[0], law.n_free)
    bread = np.linalg.inv(jac.T @ (jac * weight[:, None]))
    leverage = weight * np.einsum("ij,jk,ik->i", jac, bread, jac)
    scores = jac * (weight * r[0] / np.maximum(1.0 - leverage, 0.1))[:, None]
    summed = _membership(group).T @ scores
    influence = summed @ bread
    freedom = max(len(summed) - law.n_free, 1)
    half = size // 2
    normal = rng.standard_normal((half, len(influence)))
    tails = np.sqrt(freedom / rng.chisquare(freedom, half))[:, None]
    steps = (normal @ influence) * tails
    free = solution.free + np.concatenate([steps, -steps])
    free[:, 3:] = np.clip(free[:, 3:], *BOUNDS)
    phi = free @ law.expand.T
    return Draws(phi, solution.phi, "sandwich HC3 with t quantiles", 0.0, _told(phi))


def _outlier_weights(r: Floats, n_free: int) -> Floats:
    scale = OUTLIER * noise_scale(r, n_free)
    return np.asarray(np.minimum(1.0, scale / np.maximum(np.abs(r), 1e-300)))


def _membership(group: tuple[str, ...]) -> Floats:
    """Return the 0/1 matrix (n, G) of rows in groups."""
    _, index = np.unique(np.asarray(group), return_inverse=True)
    return np.eye(index.max() + 1)[index]


@dataclass(frozen=True)
class _Posterior:
    """The density to sample; the last coordinate is logit(rho)."""

    points: Points
    law: PowerSum
    weights: Floats
    member: Floats

    @property
    def clustered(self) -> bool:
        return self.member.shape[1] < len(self.member)

    def __call__(self, state: Floats) -> Floats:
        """Return ln density, shape (S,), of states (S, n_free + 1)."""
        phi = state[:, :-1] @ self.law.expand.T
        phi = np.concatenate([phi[:, :3], np.exp(phi[:, 3:])], axis=1)
        r, _ = residuals(self.points, phi)
        square, determinant = self._whitened(r * np.sqrt(self.weights), state[:, -1])
        nu, s = NOISE_PRIOR
        fit = -(len(self.weights) + nu) / 2 * np.log(square + nu * s * s) - determinant / 2
        return np.asarray(fit + self._prior(state))

    def _whitened(self, r: Floats, logit: Floats) -> tuple[Floats, Floats]:
        if not self.clustered:
            return (r * r).sum(axis=1), np.zeros(len(r))
        rho = 1.0 / (1.0 + np.exp(-logit))
        count = self.member.sum(axis=0)
        sums = r @ self.member
        spread = 1.0 - rho[:, None] + rho[:, None] * count
        square = (r * r).sum(axis=1) - (rho[:, None] / spread * sums**2).sum(axis=1)
        determinant = (count.sum() - len(count)) * np.log1p(-rho) + np.log(spread).sum(axis=1)
        return square / (1.0 - rho), determinant

    def _prior(self, state: Floats) -> Floats:
        logs, ln_exponents, logit = state[:, :3], state[:, 3:-1], state[:, -1]
        top = logs.max(axis=1)
        total = top + np.log(np.exp(logs - top[:, None]).sum(axis=1))
        simplex = logs.sum(axis=1) - 3.0 * total
        exponents = -0.5 * (((ln_exponents - EXPONENT_CENTRE) / EXPONENT_SD) ** 2).sum(axis=1)
        uniform = logit - 2.0 * np.logaddexp(0.0, logit)
        return np.asarray(simplex + exponents + uniform)


def _posterior(
    points: Points,
    law: PowerSum,
    solution: Solution,
    group: tuple[str, ...],
    size: int,
    rng: np.random.Generator,
) -> Draws:
    r, _ = residuals(points, solution.phi[None])
    weights = points.weights * _outlier_weights(r[0], law.n_free)
    density = _Posterior(points, law, weights, _membership(group))
    state, value = _evolve(density, _first_states(density, solution, size, rng), rng)
    phi = state[:, :-1] @ law.expand.T
    phi = np.concatenate([phi[:, :3], np.exp(phi[:, 3:])], axis=1)
    rho = float(np.median(1.0 / (1.0 + np.exp(-state[:, -1])))) if density.clustered else 0.0
    method = "posterior with weak priors" + (", runs clustered" if density.clustered else "")
    return Draws(phi, phi[int(np.argmax(value))], method, rho, _told(phi))


def _first_states(
    density: _Posterior, solution: Solution, size: int, rng: np.random.Generator
) -> Floats:
    """Spread states around the solution: its tangent's covariance, ridged by the prior."""
    _, shares = residuals(density.points, solution.phi[None])
    scale = np.array([1.0, 1.0, 1.0, solution.phi[3], solution.phi[4]])
    jac = (jacobian(density.points, shares)[0] * scale) @ density.law.expand
    r, _ = residuals(density.points, solution.phi[None])
    sigma = max(float(np.sqrt(np.mean(r**2))), NOISE_PRIOR[1] / 2)
    precision = jac.T @ jac / sigma**2 + np.eye(density.law.n_free) / EXPONENT_SD**2
    root = np.linalg.cholesky(np.linalg.inv(precision))
    centre = solution.free.copy()
    centre[3:] = np.clip(np.log(centre[3:]), EXPONENT_CENTRE - 1.0, EXPONENT_CENTRE + 1.0)
    free = centre + rng.standard_normal((size, len(centre))) @ root.T
    return np.column_stack([free, rng.logistic(size=size)])


def _evolve(density: _Posterior, state: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Run differential-evolution Metropolis; each half moves along differences of the other."""
    value = density(state)
    half = len(state) // 2
    gamma = 2.38 / np.sqrt(2.0 * state.shape[1])
    for generation in range(2 * GENERATIONS):
        mine, other = (0, half) if generation % 2 == 0 else (half, 0)
        mover = slice(mine, mine + half if mine == 0 else len(state))
        count = len(state[mover])
        pool = half if other == 0 else len(state) - half
        pairs = other + rng.integers(0, pool, (2, count))
        size = 1.0 if generation % 20 < 2 else gamma
        stretch = size * rng.uniform(0.8, 1.2, (count, 1))
        step = stretch * (state[pairs[0]] - state[pairs[1]])
        trial = state[mover] + step + 1e-5 * rng.standard_normal(step.shape)
        trial_value = density(trial)
        take = np.log(rng.uniform(size=count)) < trial_value - value[mover]
        state[mover] = np.where(take[:, None], trial, state[mover])
        value[mover] = np.where(take, trial_value, value[mover])
    return state, value
