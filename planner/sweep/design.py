"""Which run is worth its FLOPs: the one that saves most expected regret of the recommendation.

    worth(S) = tr(A (Sigma - Sigma_S) A') / FLOPs(S),   Sigma_S = Sigma after the runs S

A is the root of the regret's curvature at the target (:func:`planner.decide.recommend.aim`), so the
trace is regret in nats, and parameters that the decision does not feel count for nothing. S is one
run or a pair of one (N, D): the floor of a cell is unknown, so its first run says nothing alone and
only a contrast does. The derivative of a basin vanishes at its bottom: the worth is averaged over
draws of the posterior, at which the runs lie elsewhere in the basin.
"""

from __future__ import annotations

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
    outlook = _Outlook.of(candidates, covariance, aim)
    chosen: list[Choice] = []
    spent = 0.0
    while spent < at_least:
        best = outlook.best(budget - spent)
        if best is None:
            break
        chosen.append(best)
        spent += best.flops
        for row in best.rows:
            outlook.take(row)
    return chosen


@dataclass(frozen=True)
class _Block:
    """The candidates of one (N, D): positions (m,), covariances of their losses (T, m, m)."""

    rows: np.ndarray
    shared: Floats


@dataclass(frozen=True)
class _Outlook:
    """What is known under each theta given the runs taken so far; :meth:`take` updates in place.

    ``sigma`` (T, P, P) is the covariance of theta, ``aimed`` (T, n, k) that of the candidates'
    losses with the aim, ``free`` (n,) says what was not taken.
    """

    candidates: Candidates
    aim: Floats
    sigma: Floats
    aimed: Floats
    blocks: tuple[_Block, ...]
    free: Flags

    @classmethod
    def of(cls, candidates: Candidates, covariance: Floats, aim: Floats) -> _Outlook:
        """Take every candidate's covariances once."""
        # Only A'A counts, so as few rows stand for A as it has independent ones.
        _, size, root = np.linalg.svd(aim, full_matrices=False)
        kept = size > size.max(initial=0.0) * 1e-12
        short = size[kept, None] * root[kept]
        towards = candidates.gradient @ covariance
        blocks = []
        for cell in np.unique(candidates.cell):
            rows = np.flatnonzero(candidates.cell == cell)
            turned = np.swapaxes(candidates.gradient[:, rows], 1, 2)
            blocks.append(_Block(rows, towards[:, rows] @ turned))
        sigma = np.repeat(covariance[None], len(towards), axis=0)
        free = np.ones(len(candidates.flops), dtype=bool)
        return cls(candidates, short, sigma, towards @ short.T, tuple(blocks), free)

    def take(self, row: int) -> None:
        """Learn what one more run would tell."""
        gradient, sigma = self.candidates.gradient, self.sigma
        towards = (sigma @ gradient[:, row, :, None])[..., 0]
        spread = self.candidates.variance[:, row] + (gradient[:, row] * towards).sum(axis=1)
        towards /= np.sqrt(spread)[:, None]
        told = (gradient @ towards[..., None])[..., 0]
        self.aimed[:] -= told[..., None] * (towards @ self.aim.T)[:, None]
        sigma -= towards[:, :, None] * towards[:, None]
        for block in self.blocks:
            here = told[:, block.rows]
            block.shared[:] -= here[:, :, None] * here[:, None]
        self.free[row] = False

    def best(self, left: float) -> Choice | None:
        """Return the single run or pair of one cell that saves most per FLOP."""
        best: Choice | None = None
        payable = self.free & (self.candidates.flops <= left)
        for block in self.blocks:
            if not payable[block.rows].any():
                continue
            found = self._best_of(block, payable[block.rows], left)
            if best is None or found.saves * best.flops > best.saves * found.flops:
                best = found
        return best

    def _best_of(self, block: _Block, payable: Flags, left: float) -> Choice:
        rows, shared = block.rows, block.shared
        own = np.diagonal(shared, axis1=1, axis2=2)
        scale = 1.0 / np.sqrt(own + self.candidates.variance[:, rows])
        towards = self.aimed[:, rows] * scale[..., None]
        single = (towards**2).sum(axis=-1)
        alike = shared * scale[:, :, None] * scale[:, None]
        both = alike * (towards @ np.swapaxes(towards, 1, 2))
        both *= -2.0
        both += single[:, :, None]
        both += single[:, None]
        alike *= alike
        np.subtract(1.0, alike, out=alike)
        both /= alike
        saved, flops = single.sum(axis=0), self.candidates.flops[rows]
        price = flops[:, None] + flops
        apart = payable[:, None] & payable & (price <= left) & ~np.eye(len(rows), dtype=bool)
        pair = np.where(apart, both.sum(axis=0), 0.0)
        i, j = np.unravel_index(int((pair / price).argmax()), pair.shape)
        k = int((np.where(payable, saved, -1.0) / flops).argmax())
        times = len(single)
        if pair[i, j] / price[i, j] > saved[k] / flops[k]:
            of_two = int(rows[i]), int(rows[j])
            return Choice(of_two, float(price[i, j]), float(pair[i, j]) / times)
        return Choice((int(rows[k]),), float(flops[k]), float(saved[k]) / times)
