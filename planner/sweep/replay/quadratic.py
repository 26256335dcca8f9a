"""A loss surface that is linear in its unknowns: a stand-in recommender and the designs' posterior.

    L = c_cell + g u + h v + (g_x x + g_z z) u + (h_x x + h_z z) v + k_u u^2 + k_uv u v + k_v v^2
    u = ln lr - ln lr_ref(N, D),  v = ln B - ln B_ref(D),  x = ln N/N_target,  z = ln D/D_target

The reference rule is the prior's centre: with a normal prior on every coefficient the posterior is
exact and its covariance depends on which runs were bought, hardly on their losses. The quadratic
holds near the basin: runs far above their cell's best count for little.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from planner.arrays import Floats
from planner.sweep.replay.pool import Offer, Positions, Seen, Target, cell_labels
from planner.sweep.replay.recommend import LEVELS, Recommended

SHARED = 9
"""Coefficients all cells share: g h, g_x g_z h_x h_z, k_u k_uv k_v."""
NOISE = 0.004
"""sd of one run's loss round the surface, nats (science G6: .0016-.01)."""
FAR = 0.3
"""Share of the loss above the cell's best that counts as further noise: the basin is no parabola
there, steeper on the high side."""
DRAWS = 400
REACH = 3.0
"""How far from the rule an optimum may lie, in ln units."""

Rule = Callable[[Floats, Floats], tuple[Floats, Floats]]


def _step_law(n: Floats, d: Floats) -> tuple[Floats, Floats]:
    """Step Law (Li 2025), fitted on N 2e8-1e9, D 4e9-1e11."""
    return np.log(1.79) - 0.713 * n + 0.307 * d, np.log(0.58) + 0.571 * d


def _porian(n: Floats, d: Floats) -> tuple[Floats, Floats]:
    """Porian 2024 for lr (N 5e6-9e8), for the batch Power Lines (Bergsma 2025)."""
    return np.log(3.7) - 0.36 * n, np.log(2048 * 0.0306) + 0.383 * d


def _nothing(n: Floats, d: Floats) -> tuple[Floats, Floats]:
    """One learning rate and one batch everywhere, believed in by nobody."""
    return np.full_like(n, np.log(1e-3)), np.full_like(d, np.log(2.0**19))


@dataclass(frozen=True)
class Beliefs:
    """A rule and how far the optimum may lie from it: sd of its ln lr and ln B, of its slopes."""

    rule: Rule
    lr: float
    batch: float
    slope: float


BELIEFS = {
    "": Beliefs(_step_law, 0.5, 0.5, 0.1),
    "steplaw": Beliefs(_porian, 0.7, 0.7, 0.2),
    "all": Beliefs(_nothing, 3.0, 3.0, 0.7),
}
"""By what is left out; the widths are round numbers that were never tuned."""
CURVATURE = ((0.018, 0.01), (0.0, 0.008), (0.014, 0.008))
"""Mean and sd of k_u, k_uv, k_v in nats (science A: .0165 in ln lr, .014 in ln B)."""


@dataclass(frozen=True)
class Posterior:
    """Mean and covariance of the shared coefficients, cells first integrated out.

    ``beliefs`` is what it began with, ``target`` where x = z = 0.
    """

    mean: Floats
    covariance: Floats
    beliefs: Beliefs
    target: Target

    def optimum(self) -> tuple[Floats, Floats]:
        """Return (u, v) of the lowest loss at the target and its derivative (2, SHARED)."""
        curvature = hessian(self.mean)
        where = np.clip(-np.linalg.solve(curvature, self.mean[:2]), -REACH, REACH)
        slope = np.zeros((2, SHARED))
        slope[:, :2] = np.eye(2)
        u, v = where
        slope[:, 6:] = [[2 * u, v, 0.0], [0.0, u, 2 * v]]
        return where, np.asarray(-np.linalg.solve(curvature, slope), dtype=np.float64)

    def recommend(self) -> Recommended:
        """Return the optimum at the target with its intervals, from draws of the coefficients."""
        centre = np.array(self._rule_at_target())
        draws = np.random.default_rng(0).multivariate_normal(
            self.mean, self.covariance, DRAWS, method="eigh"
        )
        found = np.array([_lowest(theta) for theta in draws])
        lr, batch = np.exp(centre + self.optimum()[0])
        by_level = {
            level: np.exp(centre + np.quantile(found, [0.5 - level / 200, 0.5 + level / 200], 0))
            for level in LEVELS
        }
        return Recommended(
            float(lr),
            float(batch),
            {level: (float(e[0, 0]), float(e[1, 0])) for level, e in by_level.items()},
            {level: (float(e[0, 1]), float(e[1, 1])) for level, e in by_level.items()},
        )

    def _rule_at_target(self) -> tuple[float, float]:
        n, d = np.log([self.target.params]), np.log([self.target.tokens])
        lr, batch = self.beliefs.rule(n, d)
        return float(lr[0]), float(batch[0])


def posterior(seen: Seen, target: Target, without: str) -> Posterior:
    """Return what the runs seen say of the shared coefficients; the prior itself from none."""
    beliefs = BELIEFS[without]
    mean, sd = prior(beliefs)
    sound = np.isfinite(seen.loss)
    if not sound.any():
        return Posterior(mean, np.diag(sd**2), beliefs, target)
    rows = terms(seen, target, beliefs)[sound]
    labels = cell_labels(seen.params, seen.tokens)[sound]
    loss = seen.loss[sound]
    best = np.array([loss[labels == label].min() for label in labels])
    weight = noise(loss - best) ** -2
    rows, left = _within_cells(np.column_stack([rows, loss]), labels, weight)
    precision = np.diag(sd**-2) + rows.T @ (weight[:, None] * rows)
    covariance = np.asarray(np.linalg.inv(precision), dtype=np.float64)
    return Posterior(
        covariance @ (mean / sd**2 + rows.T @ (weight * left)), covariance, beliefs, target
    )


def recommend(seen: Seen, target: Target, without: str) -> Recommended:
    """Recommend lr and batch: :class:`planner.sweep.replay.recommend.Recommender`."""
    return posterior(seen, target, without).recommend()


def terms(runs: Seen | Offer, target: Target, beliefs: Beliefs) -> Floats:
    """Return the derivatives (n, SHARED) of the loss in the shared coefficients."""
    n, d = np.log(runs.params), np.log(runs.tokens)
    lr, batch = beliefs.rule(n, d)
    u, v = np.log(runs.lr) - lr, np.log(runs.batch_tokens) - batch
    x, z = n - np.log(target.params), d - np.log(target.tokens)
    return np.stack([u, v, x * u, z * u, x * v, z * v, u * u, u * v, v * v], axis=1)


def expected_excess(theta: Floats, rows: Floats, runs: Seen | Offer, target: Target) -> Floats:
    """Return how far above their cell's best (n,) runs lie if theta holds, given their terms."""
    x = np.log(runs.params / target.params)
    z = np.log(runs.tokens / target.tokens)
    slope = theta[:2] + np.outer(x, theta[[2, 4]]) + np.outer(z, theta[[3, 5]])
    depth = 0.5 * (slope @ np.linalg.inv(hessian(theta)) * slope).sum(axis=1)
    return np.asarray(rows @ theta + depth)


def noise(excess: Floats) -> Floats:
    """Return the sd (n,) of runs that lie ``excess`` nats above their cell's best."""
    return np.asarray(np.hypot(NOISE, FAR * np.maximum(excess, 0.0)))


def prior(beliefs: Beliefs) -> tuple[Floats, Floats]:
    """Return mean and sd (SHARED,) of the coefficients before anything is seen."""
    (k_u, _), _, (k_v, _) = CURVATURE
    lr, batch = 2 * k_u, 2 * k_v
    mean = np.concatenate([np.zeros(6), [k for k, _ in CURVATURE]])
    slopes = np.array([lr, lr, batch, batch]) * beliefs.slope
    widths = [lr * beliefs.lr, batch * beliefs.batch, *slopes, *(sd for _, sd in CURVATURE)]
    return mean, np.array(widths)


def _within_cells(columns: Floats, labels: Positions, weight: Floats) -> tuple[Floats, Floats]:
    """Take the weighted mean of every cell out: its own level is free."""
    out = columns.copy()
    for label in np.unique(labels):
        rows = labels == label
        out[rows] -= np.average(columns[rows], axis=0, weights=weight[rows])
    return out[:, :-1], out[:, -1]


def hessian(theta: Floats) -> Floats:
    """Return [[2 k_u, k_uv], [k_uv, 2 k_v]], made safely convex."""
    k_u, k_uv, k_v = theta[6:]
    values, vectors = np.linalg.eigh([[2 * k_u, k_uv], [k_uv, 2 * k_v]])
    return np.asarray(vectors @ np.diag(np.maximum(values, 0.005)) @ vectors.T)


def _lowest(theta: Floats) -> Floats:
    return np.clip(-np.linalg.solve(hessian(theta), theta[:2]), -REACH, REACH)
