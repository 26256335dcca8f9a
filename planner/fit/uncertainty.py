"""Statistical draws of a law: what noise, seeds and design leave open when the law is right.

The method follows from the data and is named in the result; the first that applies:

- ``posterior with weak priors``: an exponent keeps more than a quarter of its prior's sd, or the
  solve has no inner end, or fewer than three residual freedoms are left. The priors then speak
  (:mod:`planner.fit.posterior`; sums of powers only).
- ``t draws, noise shared in groups``: the rows come in few groups (forks of a trunk).
- ``sandwich HC2``: many groups, or rows with slack, or noise that changes over N or D (score test
  at p < .15: a change missed costs up to 8 points of coverage, a false alarm 3 % of width).
- ``t draws, even noise``: everything else.

The last three are drawn in the losses and pulled back through the law (:mod:`planner.fit.tangent`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from planner.arrays import Floats
from planner.fit.bootstrap import bootstrap, clusters
from planner.fit.laws import Law, PowerSum
from planner.fit.points import Points
from planner.fit.posterior import EXPONENT_SD, sample
from planner.fit.solution import Solution
from planner.fit.tangent import (
    FEW,
    Tangent,
    even_moves,
    linearise,
    noise_scale,
    pull_back,
    uneven_moves,
    unevenness,
)

IDENTIFIED = 0.25
"""Share of the prior's sd of ln alpha or ln beta up to which the data need no prior."""
MANY_GROUPS = 30
"""From here on the groups' own scores measure their spread."""
SUSPECT = 0.15
"""The p value of even noise below which it is not taken for even."""
LEAST_FREEDOM = 12
"""Residual freedoms below which a change of the noise cannot be measured."""
ABSOLUTE = 0.25
"""Huber's delta in robust sd below which a fit is taken for one of absolute errors."""
LEAST_NOISE = 1e-6
OUTLIER = 3.0
"""In the posterior, residuals beyond this many robust sd are downweighted as by a Huber loss."""


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


def draw(
    points: Points, law: Law, solution: Solution, group: tuple[str, ...], size: int, seed: int
) -> Draws:
    """Draw ``size`` parameter vectors for the law given the points and the solution's delta."""
    rng = np.random.default_rng(seed)
    member = _membership(group)
    tangent = linearise(points, law, solution.free, solution.delta, member)
    moves, rho, method = _moves(points, tangent, size, rng)
    if isinstance(law, PowerSum) and _open(law, tangent, solution, moves):
        return _posterior(points, law, solution, member, (size, rng))
    cluster, kind = clusters(points, member)
    if cluster.shape[1] >= MANY_GROUPS and _nearly_absolute(points, law, solution):
        free, share = bootstrap(points, law, solution, cluster, (size, rng))
        method = f"bootstrap over {kind}, {share:.0%} of refits converged"
    else:
        free = pull_back(points, law, solution.free, moves)
        method = method
    theta = law.theta_of(points, free)
    told = _told(law, theta) if isinstance(law, PowerSum) else {}
    return Draws(theta, solution.theta, method, rho, told)


def _nearly_absolute(points: Points, law: Law, solution: Solution) -> bool:
    """Say whether delta leaves almost every residual on the straight part of the loss."""
    r = law.evaluate(points, solution.free[None])[0][0] - points.y
    return bool(0.0 < solution.delta < ABSOLUTE * noise_scale(r, law.n_free))


def _moves(
    points: Points, tangent: Tangent, size: int, rng: np.random.Generator
) -> tuple[Floats, float, str]:
    """Choose between the three tangent methods; return moves (size, P), rho and the name."""
    n, groups = tangent.member.shape
    if groups < min(n, MANY_GROUPS):
        moves, rho = even_moves(tangent, size, rng)
        return moves, rho, "t draws, noise shared in groups"
    if groups < n:
        return uneven_moves(tangent, size, rng), 0.0, "sandwich HC2 over groups"
    if (points.slack < 1.0).any():
        return uneven_moves(tangent, size, rng), 0.0, "sandwich HC2, one-sided rows"
    spot = np.column_stack([points.x, points.z])
    if tangent.freedom >= LEAST_FREEDOM and unevenness(tangent, spot) < SUSPECT:
        return uneven_moves(tangent, size, rng), 0.0, "sandwich HC2, uneven noise"
    return even_moves(tangent, size, rng)[0], 0.0, "t draws, even noise"


def _open(law: PowerSum, tangent: Tangent, solution: Solution, moves: Floats) -> bool:
    """Say whether the data leave so much open that priors have to speak."""
    if solution.at_bound or not solution.converged or len(tangent.psi) < law.n_free + FEW:
        return True
    left = moves[:, 3:].std(axis=0) / solution.free[3:] / EXPONENT_SD
    return bool(left.max() > IDENTIFIED)


def _posterior(
    points: Points,
    law: PowerSum,
    solution: Solution,
    member: Floats,
    count: tuple[int, np.random.Generator],
) -> Draws:
    """Draw from the posterior; rows that slack leaves without weight are left out."""
    r = law.evaluate(points, solution.free[None])[0][0] - points.y
    weights = points.one_sided(r) * _outlier_weights(r, law.n_free)
    rows = weights > 0.0
    kept = replace(
        points,
        **{name: getattr(points, name)[rows] for name in ("x", "z", "y", "slack", "extra")},
        weights=weights[rows],
    )
    phi, mode, rho = sample(kept, law, member[rows][:, member[rows].any(axis=0)], *count)
    clustered = ", noise shared in groups" if member.shape[1] < len(member) else ""
    theta = law.theta_of(points, phi)
    method = f"posterior with weak priors{clustered}"
    return Draws(theta, law.theta_of(points, mode), method, rho, _told(law, theta))


def _told(law: PowerSum, theta: Floats) -> dict[str, float]:
    left = np.log(theta[:, 3:]).std(axis=0) / EXPONENT_SD
    return dict(zip(law.names[3:], left.tolist(), strict=True))


def _outlier_weights(r: Floats, n_free: int) -> Floats:
    scale = OUTLIER * max(noise_scale(r, n_free), LEAST_NOISE)
    return np.asarray(np.minimum(1.0, scale / np.maximum(np.abs(r), 1e-300)))


def _membership(group: tuple[str, ...]) -> Floats:
    """Return the 0/1 matrix (n, G) of rows in groups."""
    _, index = np.unique(np.asarray(group), return_inverse=True)
    return np.eye(index.max() + 1)[index]
