"""Statistical draws of a law: what noise, seeds and design leave open when the law is right.

Two methods, chosen from the data and named in the result:

- ``posterior`` (few runs, or few independent groups): see :mod:`planner.fit.posterior`; t tails of
  n - P degrees of freedom, the curved E-alpha ridge, noise shared by the forks of a trunk.
- ``sandwich`` (many independent groups): phi +- t * HC3 root, antithetic; right for any tails.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from planner.arrays import Floats
from planner.fit.laws import PowerSum
from planner.fit.posterior import EXPONENT_SD, sample
from planner.fit.solve import BOUNDS, Points, Solution, jacobian, residuals

MANY_RUNS, MANY_GROUPS = 60, 30
"""From here on the sandwich is right whatever the tails; below it the posterior is."""
LEAST_NOISE = 1e-6
OUTLIER = 3.0
"""Residuals beyond this many robust sd are downweighted, as a Huber loss would."""


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
    r, _ = residuals(points, solution.phi[None])
    calm = replace(points, weights=points.weights * _outlier_weights(r[0], law.n_free))
    phi, mode, rho = sample(calm, law, _membership(group), size, rng)
    clustered = ", runs clustered" if len(set(group)) < len(group) else ""
    return Draws(phi, mode, f"posterior with weak priors{clustered}", rho, _told(phi))


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
    scale = OUTLIER * max(noise_scale(r, n_free), LEAST_NOISE)
    return np.asarray(np.minimum(1.0, scale / np.maximum(np.abs(r), 1e-300)))


def _membership(group: tuple[str, ...]) -> Floats:
    """Return the 0/1 matrix (n, G) of rows in groups."""
    _, index = np.unique(np.asarray(group), return_inverse=True)
    return np.eye(index.max() + 1)[index]
