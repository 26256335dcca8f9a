"""Planted worlds of the coverage benchmark: designs and noises of the seven cells, and harder ones.

Truth: the Chinchilla constants as refitted by Besiroglu et al. (2024). Designs are IsoFLOP grids,
C levels evenly spaced in the log over ``flops``, sizes at each level spread over a factor ``span``
round N*(C). "forks" are ladders: ``sizes`` trunks of ``levels`` forks, 5 to 80 tokens a parameter,
half of the noise's variance the trunk's. Noise multiplies the loss by e^noise:

    gauss     normal            t3        Student's t with 3 degrees of freedom
    one-sided exponential       half      |normal|: losses only ever too high
    uneven    the sd grows as N^.25 (as the residuals of the 240 Chinchilla points do)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.arrays import Floats
from planner.fit.laws import CHINCHILLA, optimal_params

TRUTH = np.array([1.8172, 482.01, 2085.43, 0.3478, 0.3658])
REACH = np.array([10.0, 100.0, 1000.0])


@dataclass(frozen=True)
class Cell:
    """One cell: a design of ``levels`` x ``sizes`` rows, the noise's kind and its size."""

    name: str
    levels: int
    sizes: int
    noise: str
    size: float
    flops: tuple[float, float] = (1e18, 1e21)
    span: float = 16.0
    uneven: float = 0.0
    shared: float = 0.0

    @property
    def forks(self) -> bool:
        """Say whether rows are forks of one trunk per size."""
        return self.shared > 0.0

    def design(self) -> tuple[Floats, Floats, tuple[str, ...]]:
        """Return N, D (n,) and the group of every row."""
        if self.forks:
            params = np.repeat(np.geomspace(2e8, 3.2e9, self.sizes), self.levels)
            tokens = params * np.tile(np.geomspace(5.0, 80.0, self.levels), self.sizes)
            return params, tokens, tuple(f"{n:.3e}" for n in params)
        flops = np.repeat(np.geomspace(*self.flops, self.levels), self.sizes)
        spread = np.tile(np.linspace(-0.5, 0.5, self.sizes), self.levels)
        params = optimal_params(TRUTH, flops) * self.span**spread
        return params, flops / 6.0 / params, tuple(f"run{i}" for i in range(len(params)))

    def errors(self, params: Floats, sets: int, rng: np.random.Generator) -> Floats:
        """Return the noise of ln L, shape (sets, n)."""
        shape = (sets, len(params))
        if self.noise == "t3":
            unit = rng.standard_t(3, shape) / np.sqrt(3.0)
        elif self.noise == "one-sided":
            unit = rng.exponential(1.0, shape)
        elif self.noise == "half":
            unit = np.abs(rng.standard_normal(shape)) / np.sqrt(1.0 - 2.0 / np.pi)
        else:
            unit = rng.standard_normal(shape)
        if self.forks:
            trunk = rng.standard_normal((sets, self.sizes)).repeat(self.levels, axis=1)
            unit = np.sqrt(self.shared) * trunk + np.sqrt(1.0 - self.shared) * unit
        x = np.log(params)
        return np.asarray(self.size * unit * np.exp(self.uneven * (x - x.mean())))

    def lift(self) -> float:
        """Return ln of the mean of e^noise: by how much the mean loss lies above the law."""
        if self.noise == "one-sided":
            return float(-np.log1p(-self.size))
        if self.noise == "half":
            draws = np.abs(np.random.default_rng(0).standard_normal(10**6))
            return float(np.log(np.mean(np.exp(self.size * draws / np.sqrt(1.0 - 2.0 / np.pi)))))
        return 0.0


CELLS = (
    Cell("35 gauss .003", 7, 5, "gauss", 0.003),
    Cell("35 t3", 7, 5, "t3", 0.003),
    Cell("20 gauss", 5, 4, "gauss", 0.003),
    Cell("35 gauss .01", 7, 5, "gauss", 0.01),
    Cell("63 gauss", 9, 7, "gauss", 0.003),
    Cell("35 one-sided", 7, 5, "one-sided", 0.003),
    Cell("240 t3", 16, 15, "t3", 0.007, (6e18, 3e21), 30.0, uneven=0.25),
)
"""The seven of the target. 240: heavy tails that widen with size, as the public points have."""
HARDER = (
    Cell("240 t3 even", 16, 15, "t3", 0.007, (6e18, 3e21), 30.0),
    Cell("35 half-normal", 7, 5, "half", 0.003),
    Cell("20 t3", 5, 4, "t3", 0.003),
    Cell("63 t3", 9, 7, "t3", 0.003),
    Cell("20 uneven", 5, 4, "gauss", 0.003, uneven=0.25),
    Cell("35 uneven", 7, 5, "gauss", 0.003, uneven=0.25),
    Cell("63 uneven", 9, 7, "gauss", 0.003, uneven=0.25),
    Cell("15 forks .003", 3, 5, "gauss", 0.003, shared=0.5),
    Cell("40 forks .003", 5, 8, "gauss", 0.003, shared=0.5),
    Cell("40 forks .01", 5, 8, "gauss", 0.01, shared=0.5),
    Cell("120 forks .003", 3, 40, "gauss", 0.003, shared=0.5),
    Cell("35 gauss .03", 7, 5, "gauss", 0.03),
    Cell("12 gauss", 4, 3, "gauss", 0.003),
)
"""Not asked for, but met by users."""


def quantities(theta: Floats, flops: Floats) -> Floats:
    """Return ln N*, ln D* and ln L at the true optimum, at each C of ``flops``, shape (S, 9)."""
    size = np.stack([np.log(optimal_params(theta, c)) for c in flops], axis=-1)
    best = np.array([optimal_params(TRUTH, c) for c in flops])
    loss = np.log(CHINCHILLA.predict(theta, best, flops / 6.0 / best))
    return np.concatenate([size, np.log(flops / 6.0) - size, loss], axis=-1)
