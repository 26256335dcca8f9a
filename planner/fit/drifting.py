"""What runs say of the best size at a target, by a law that may drift on the way there.

    ln L_i = ln law(N_i, D_i) + g(d_i) + e_i,    d = log10(C0 / C) >= 0, C0 the target's compute
    cov(g(d), g(d')) = (DRIFT min(d, d'))^2,     var e_i = NOISE^2 + (FAR x_i)^2

No law is right over decades. g is common to the runs of one C and wanders from C to C, so a run
speaks of the best size by its place in its own valley, and hardly by how high that valley lies.
x_i is how far the run lies above the bottom of its valley (in ln L): high up its sides no valley is
a law's. Given the exponents all is linear and normal: the law is drawn exactly
(:mod:`planner.fit.posterior`), and g follows from what it leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from planner.arrays import Floats
from planner.fit.laws import CHINCHILLA, optimal_params
from planner.fit.points import Points
from planner.fit.posterior import sample

NOISE = 0.004
"""sd of ln loss of one run: small transformers scatter by .002 to .01 from seed to seed."""
DRIFT = 0.012
"""sd of ln loss per decade of compute by which a law is wrong: 4 % of L - E (science F4.4), for the
usual L - E of .3 L."""
FAR = 0.1
"""Share of x that counts as noise; of .1, .25 and .5 the best on planted laws and on Farseer's."""
LEVEL = 0.05
"""Decades of compute within which runs share one g."""
DRAWS = 400


class Runs(Protocol):
    """Runs or candidates as arrays (n,); losses are known apart."""

    @property
    def params(self) -> Floats: ...  # noqa: D102

    @property
    def tokens(self) -> Floats: ...  # noqa: D102

    @property
    def flops(self) -> Floats: ...  # noqa: D102


@dataclass(frozen=True)
class Drifting:
    """Draws of Chinchilla's law at the target, theta (S, 5), and of g (S, G) at ``levels`` (G,).

    ``middle`` (5,) is the law by which valleys are told from their sides.
    """

    target_flops: float
    theta: Floats
    levels: Floats
    drift: Floats
    middle: Floats
    seed_noise: float = NOISE

    def log_loss(self, runs: Runs) -> Floats:
        """Return draws (S, n) of ln L of runs at the target's C or at one of the levels."""
        at = np.searchsorted(self.levels, decades(runs.flops, self.target_flops) - LEVEL / 2)
        law = CHINCHILLA.predict(self.theta, runs.params, runs.tokens)
        return np.asarray(np.log(law) + self.drift[:, at])

    def noise(self, runs: Runs) -> Floats:
        """Return the sd (n,) of a run's own error."""
        return _own(self.middle, runs, self.seed_noise)


def drifting(
    seen: Runs, loss: Floats, offer: Runs, target_flops: float, noise: float = NOISE
) -> Drifting:
    """Return what runs (n,) with losses (n,) say, also at the C of what is on offer.

    Four runs or more, none of them diverged; ``noise`` is the sd of ln L from seed to seed. The
    same runs give the same draws.
    """
    rng = np.random.default_rng(0)
    away = decades(seen.flops, target_flops)
    middle = _middle(seen, loss, away, noise)
    own = _own(middle, seen, noise)
    shared = _kernel(away, away)
    covariance = shared + np.diag(own**2)
    points = Points.of(seen.params, seen.tokens, loss)
    root = noise * np.linalg.inv(np.linalg.cholesky(covariance))
    phi, _, _ = sample(points, CHINCHILLA, np.eye(len(loss)), DRAWS, rng, whiten=root)
    theta = CHINCHILLA.theta_of(points, phi)
    levels = np.unique(np.concatenate([[0.0], away, decades(offer.flops, target_flops)]))
    # Draws of g given the runs: prior draws, corrected by what they leave of the residuals.
    begin = rng.normal(size=(DRAWS, len(levels))) @ np.linalg.cholesky(_steady(levels)).T
    at = np.searchsorted(levels, away - LEVEL / 2)
    left = np.log(loss) - np.log(CHINCHILLA.predict(theta, seen.params, seen.tokens))
    left = left - begin[:, at] - own * rng.normal(size=left.shape)
    drift = begin + np.linalg.solve(covariance, left.T).T @ _kernel(away, levels)
    return Drifting(target_flops, theta, levels, drift, middle, noise)


def decades(flops: Floats, target_flops: float) -> Floats:
    """Return how many decades (n,) compute lies below the target's, in steps of LEVEL."""
    below = np.maximum(np.log10(target_flops / flops), 0.0)
    return np.asarray(np.round(below / LEVEL) * LEVEL)


def _middle(seen: Runs, loss: Floats, away: Floats, noise: float) -> Floats:
    """Return a law (5,) to tell valleys by: distant runs count less, and nothing is shared."""
    points = Points.of(seen.params, seen.tokens, loss, 1.0 / (noise**2 + (DRIFT * away) ** 2))
    drawn = sample(points, CHINCHILLA, np.eye(len(loss)), DRAWS // 8, np.random.default_rng(0))
    return np.asarray(np.median(CHINCHILLA.theta_of(points, drawn[0]), axis=0))


def _own(theta: Floats, runs: Runs, noise: float) -> Floats:
    flops = 6.0 * runs.params * runs.tokens
    best = optimal_params(theta, flops)
    here, there = (
        np.log(CHINCHILLA.predict(theta, n, flops / 6.0 / n)) for n in (runs.params, best)
    )
    return np.asarray(np.hypot(noise, FAR * (here - there)))


def _kernel(a: Floats, b: Floats) -> Floats:
    return np.asarray((DRIFT * np.minimum(a[:, None], b)) ** 2)


def _steady(levels: Floats) -> Floats:
    """Return the kernel at different levels, fit for a Cholesky root."""
    return _kernel(levels, levels) + 1e-12 * np.eye(len(levels))
