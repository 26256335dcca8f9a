"""Which run is worth its FLOPs: the one that saves most expected regret of the recommendation.

    worth(S) = tr(A (Sigma - Sigma_S) A') / FLOPs(S),   Sigma_S = Sigma after the runs S

A is the root of the regret's curvature at the target (:func:`planner.decide.recommend.aim`), so the
trace is regret in nats, and parameters that the decision does not feel count for nothing. S is one
run or a pair of one (N, D): the floor of a cell is unknown, so its first run says nothing alone and
only a contrast does. The derivative of a basin vanishes at its bottom: the worth is averaged over
draws of the posterior, at which the runs lie elsewhere in the basin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planner.arrays import Flags, Floats
from planner.fit.surface import Rows, Surface

DRAWS = 4
"""Draws the worth is averaged over, besides the posterior's mean."""


@dataclass(frozen=True)
class Choice:
    """One run or pair: positions of its runs, FLOPs, and the regret it saves in nats."""

    rows: tuple[int, ...]
    flops: float
    saves: float


@dataclass(frozen=True)
class Candidates:
    """What may be run: derivatives (T, n, P) and noise (T, n) under T thetas, FLOPs, cells (n,)."""

    gradient: Floats
    variance: Floats
    flops: Floats
    cell: np.ndarray

    @classmethod
    def of(
        cls, surface: Surface, rows: Rows, flops: Floats, rng: np.random.Generator
    ) -> Candidates:
        """Linearise the surface at every candidate, under the mean and DRAWS draws."""
        thetas = [surface.mean, *surface.draws(DRAWS, rng)]
        both = [surface.gradient(rows, theta) for theta in thetas]
        place = np.stack([rows.params, rows.tokens], axis=1)
        cell = np.unique(place, axis=0, return_inverse=True)[1].ravel()
        gradient, variance = (np.stack(part) for part in zip(*both, strict=True))
        return cls(gradient, variance, flops, cell)


def design(
    candidates: Candidates, covariance: Floats, aim: Floats, *, budget: float, at_least: float
) -> list[Choice]:
    """Return choices, best first, until ``at_least`` FLOPs are planned; never above ``budget``.

    Greedy: each choice is the best given those before it.
    """
    sigmas = [covariance] * len(candidates.gradient)
    free = np.ones(len(candidates.flops), dtype=bool)
    chosen: list[Choice] = []
    spent = 0.0
    while spent < at_least:
        best = _best(
            candidates, sigmas, aim, free & (candidates.flops <= budget - spent), budget - spent
        )
        if best is None:
            break
        chosen.append(best)
        spent += best.flops
        for row in best.rows:
            free[row] = False
            sigmas = [
                _after(sigma, gradient[row], variance[row])
                for sigma, gradient, variance in zip(
                    sigmas, candidates.gradient, candidates.variance, strict=True
                )
            ]
    return chosen


def _best(
    candidates: Candidates, sigmas: Sequence[Floats], aim: Floats, free: Flags, left: float
) -> Choice | None:
    """Return the single run or pair of one cell that saves most per FLOP."""
    rows = np.flatnonzero(free)
    if not len(rows):
        return None
    best: Choice | None = None
    for cell in np.unique(candidates.cell[rows]):
        found = _best_of_cell(candidates, sigmas, aim, rows[candidates.cell[rows] == cell], left)
        if best is None or found.saves * best.flops > best.saves * found.flops:
            best = found
    return best


def _best_of_cell(
    candidates: Candidates, sigmas: Sequence[Floats], aim: Floats, rows: np.ndarray, left: float
) -> Choice:
    single, pair = np.zeros(len(rows)), np.zeros((len(rows), len(rows)))
    for sigma, gradient, variance in zip(
        sigmas, candidates.gradient[:, rows], candidates.variance[:, rows], strict=True
    ):
        towards = gradient @ sigma
        shared, aimed = towards @ gradient.T, towards @ aim.T
        spread, gain = np.diag(shared) + variance, aimed @ aimed.T
        own = np.diag(gain)
        single += own / spread
        volume = np.maximum(np.outer(spread, spread) - shared**2, 1e-300)
        both = np.outer(own, spread)
        pair += (both + both.T - 2 * shared * gain) / volume
    flops = candidates.flops[rows]
    price = flops[:, None] + flops
    pair[(price > left) | np.eye(len(rows), dtype=bool)] = 0.0
    i, j = np.unravel_index(int((pair / price).argmax()), pair.shape)
    k = int((single / flops).argmax())
    times = len(sigmas)
    if pair[i, j] / price[i, j] > single[k] / flops[k]:
        return Choice((int(rows[i]), int(rows[j])), float(price[i, j]), float(pair[i, j]) / times)
    return Choice((int(rows[k]),), float(flops[k]), float(single[k]) / times)


def _after(sigma: Floats, gradient: Floats, variance: float) -> Floats:
    """Return the covariance after one more run."""
    towards = sigma @ gradient
    return np.asarray(sigma - np.outer(towards, towards) / (variance + gradient @ towards))
