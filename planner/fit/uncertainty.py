"""Statistical draws of a law: what noise, seeds and design leave open when the law is right.

Two methods, chosen from the data and named in the result:

- ``posterior`` (few runs, or few independent groups): see :mod:`planner.fit.posterior`; t tails of
  n - P degrees of freedom, the curved E-alpha ridge, noise shared by the forks of a trunk.
- ``sandwich`` (many independent groups): phi +- t * HC3 root, antithetic; right for any tails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from planner.arrays import Floats
from planner.fit.laws import Law, PowerSum
from planner.fit.points import Points
from planner.fit.posterior import EXPONENT_SD, sample
from planner.fit.solution import Solution

MANY_RUNS, MANY_GROUPS = 60, 30
"""From here on the sandwich is right whatever the tails; below it the posterior is."""
LEAST_NOISE = 1e-6
OUTLIER = 3.0
"""Residuals beyond this many robust sd are downweighted, as a Huber loss would."""


@dataclass(frozen=True)
class Draws:
    """Draws of the parameters theta (S, P), the most probable of them (P,), and the method.

    ``rho`` is the median correlation inside a group, ``told`` the share of the prior's sd of
    an exponent's log that is left, by name: near 1 the data said nothing.
    """

    theta: Floats
    mode: Floats
    method: str
    rho: float
    told: Mapping[str, float]


def noise_scale(r: Floats, n_free: int) -> float:
    """Return the robust sd of residuals (n,) after ``n_free`` fitted parameters (median of |r|)."""
    n = len(r)
    largest = np.sort(np.abs(r))[min(n_free, n - 1) :] if n > n_free else np.abs(r)
    return float(1.4826 * np.median(largest))


def draw(
    points: Points, law: Law, solution: Solution, group: tuple[str, ...], size: int, seed: int
) -> Draws:
    """Draw ``size`` parameter vectors for the law given the points."""
    rng = np.random.default_rng(seed)
    many = len(points) >= MANY_RUNS and len(set(group)) >= MANY_GROUPS and not solution.at_bound
    if many or not isinstance(law, PowerSum):
        return _sandwich(points, law, solution, group, size, rng)
    r = law.evaluate(points, solution.free[None])[0][0] - points.y
    calm = replace(points, weights=points.weights * _outlier_weights(r, law.n_free))
    phi, mode, rho = sample(calm, law, _membership(group), size, rng)
    clustered = ", runs clustered" if len(set(group)) < len(group) else ""
    theta = law.theta_of(points, phi)
    method = f"posterior with weak priors{clustered}"
    return Draws(theta, law.theta_of(points, mode), method, rho, _told(law, theta))


def _told(law: PowerSum, theta: Floats) -> dict[str, float]:
    left = np.log(theta[:, 3:]).std(axis=0) / EXPONENT_SD
    return dict(zip(law.names[3:], left.tolist(), strict=True))


def _sandwich(
    points: Points,
    law: Law,
    solution: Solution,
    group: tuple[str, ...],
    size: int,
    rng: np.random.Generator,
) -> Draws:
    log_loss, jacobian = law.evaluate(points, solution.free[None])
    r, jac = log_loss[0] - points.y, jacobian[0]
    weight = points.one_sided(r) * _outlier_weights(r, law.n_free)
    bread = np.linalg.inv(jac.T @ (jac * weight[:, None]))
    leverage = weight * np.einsum("ij,jk,ik->i", jac, bread, jac)
    scores = jac * (weight * r / np.maximum(1.0 - leverage, 0.1))[:, None]
    summed = _membership(group).T @ scores
    influence = summed @ bread
    freedom = max(len(summed) - law.n_free, 1)
    half = size // 2
    normal = rng.standard_normal((half, len(influence)))
    tails = np.sqrt(freedom / rng.chisquare(freedom, half))[:, None]
    steps = (normal @ influence) * tails
    free = np.clip(solution.free + np.concatenate([steps, -steps]), *law.box(points))
    theta = law.theta_of(points, free)
    told = _told(law, theta) if isinstance(law, PowerSum) else {}
    return Draws(theta, solution.theta, "sandwich HC3 with t quantiles", 0.0, told)


def _outlier_weights(r: Floats, n_free: int) -> Floats:
    scale = OUTLIER * max(noise_scale(r, n_free), LEAST_NOISE)
    return np.asarray(np.minimum(1.0, scale / np.maximum(np.abs(r), 1e-300)))


def _membership(group: tuple[str, ...]) -> Floats:
    """Return the 0/1 matrix (n, G) of rows in groups."""
    _, index = np.unique(np.asarray(group), return_inverse=True)
    return np.eye(index.max() + 1)[index]
