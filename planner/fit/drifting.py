"""What runs say of a target's best size, when no law is right over decades.

    sd of ln L round the law at the target = sqrt(NOISE^2 + (DRIFT d)^2),   d = log10(C0 / C) >= 0

C0 is the target's compute: a run counts the less the further it lies below. The exact posterior of
Chinchilla's law under such noise (:mod:`planner.fit.posterior`) answers for the target, and says
what a further run would teach: a cheap one little, though its law may be known well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from planner.arrays import Floats
from planner.fit.laws import CHINCHILLA
from planner.fit.points import Points
from planner.fit.posterior import sample

NOISE = 0.004
"""sd of ln loss of one run: small transformers scatter by .002 to .01 from seed to seed."""
DRIFT = 0.006
"""sd of ln loss per decade of compute by which a law is wrong about sizes: half the 4 % of L - E
(science F4.4) its loss is off by, for runs of one C are off alike. Chosen on Farseer's runs (ln N*
off by .10, with .012 by .16) and on planted worlds (as good or better)."""
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
    """Draws of Chinchilla's law as it is near the target, theta (S, 5)."""

    target_flops: float
    theta: Floats
    seed_noise: float = NOISE

    def log_loss(self, runs: Runs) -> Floats:
        """Return draws (S, n) of ln L."""
        return np.asarray(np.log(CHINCHILLA.predict(self.theta, runs.params, runs.tokens)))

    def noise(self, runs: Runs) -> Floats:
        """Return the sd (n,) of what runs would show round the law near the target."""
        return wrong_by(runs.flops, self.target_flops, DRIFT, self.seed_noise)


def drifting(seen: Runs, loss: Floats, target_flops: float, noise: float = NOISE) -> Drifting:
    """Return what runs (n,) with losses (n,) say of the law near a target.

    Four runs or more, none of them diverged; ``noise`` is the sd of ln L from seed to seed. The
    same runs give the same draws.
    """
    spread = wrong_by(seen.flops, target_flops, DRIFT, noise)
    points = Points.of(seen.params, seen.tokens, loss, 1.0 / spread**2)
    rng = np.random.default_rng(0)
    phi, _, _ = sample(points, CHINCHILLA, np.eye(len(loss)), DRAWS, rng)
    return Drifting(target_flops, CHINCHILLA.theta_of(points, phi), noise)


def wrong_by(flops: Floats, target_flops: float, drift: float, noise: float = NOISE) -> Floats:
    """Return the sd (n,) of ln L of runs round a law that drifts so much per decade."""
    below = np.maximum(np.log10(target_flops / flops), 0.0)
    return np.asarray(np.hypot(noise, drift * below))
