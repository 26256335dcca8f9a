"""What a recommended (lr, batch) costs at a cell whose runs are known (contracts.md section 1).

    L(u, v) = sum of c_ij u^i v^j over i + j <= 3,   u = ln lr - u0,  v = ln B - v0

fitted by least squares to the cell's runs within 3 % of its lowest loss. Inside their convex hull

    regret = L(u, v) - min of L over the hull        (nats)

and outside it the loss of the nearest run counts, whatever became of that run. It judges decisions;
nothing that decides may see it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.optimize import minimize
from scipy.spatial import ConvexHull, QhullError

from planner.arrays import Flags, Floats
from planner.errors import EvidenceError

NEAR = 0.03
"""Runs this close to the cell's lowest loss, relatively, carry the surface."""
POWERS = ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2), (3, 0), (2, 1), (1, 2), (0, 3))
"""Exponents of u and v, term by term."""
GRID = 101
"""Points a side of the grid the minimum is looked for on, before it is polished."""
TOLERANCE = 1e-9
"""How far outside the hull a point may lie, in ln units: its own corners are inside."""


@dataclass(frozen=True)
class RegretSurface:
    """The smoothed loss of one cell over (ln lr, ln batch); all logs are natural.

    ``centre`` is (u0, v0), ``coefficients`` (10,) follow POWERS, ``hull`` (h, 2) holds its corners
    in (ln lr, ln B) counter-clockwise, ``best`` the point of the minimum, ``least`` its loss.
    ``runs`` (n, 3) are all runs of the cell as (ln lr, ln B, loss), diverged ones with inf.
    """

    centre: Floats
    coefficients: Floats
    hull: Floats
    best: Floats
    least: float
    rms: float
    """Root mean square residual of the fitted runs, nats."""
    runs: Floats

    def loss(self, lr: Floats | float, batch_tokens: Floats | float) -> Floats:
        """Return the smoothed loss, outside the hull the nearest run's; shape of the inputs."""
        lr, batch = np.broadcast_arrays(
            np.asarray(lr, dtype=np.float64), np.asarray(batch_tokens, dtype=np.float64)
        )
        where = np.log(np.stack([lr.ravel(), batch.ravel()], axis=1))
        distance = ((where[:, None] - self.runs[None, :, :2]) ** 2).sum(axis=2)
        nearest = self.runs[distance.argmin(axis=1), 2]
        inside = _inside(self.hull, where)
        found = np.where(inside, _terms(where - self.centre) @ self.coefficients, nearest)
        return np.asarray(found.reshape(lr.shape), dtype=np.float64)

    def regret(self, lr: Floats | float, batch_tokens: Floats | float) -> Floats:
        """Return what training the cell at (lr, batch) gives away, nats, never below 0."""
        return np.asarray(np.maximum(self.loss(lr, batch_tokens) - self.least, 0.0))

    def best_lr(self, batch_tokens: float) -> float:
        """Return the best learning rate at a batch; the cell's own best outside the hull."""
        lr = np.linspace(self.hull[:, 0].min(), self.hull[:, 0].max(), GRID)
        where = np.column_stack([lr, np.full(GRID, np.log(batch_tokens))])
        inside = _inside(self.hull, where)
        if not inside.any():
            return float(np.exp(self.best[0]))
        losses = _terms(where[inside] - self.centre) @ self.coefficients
        return float(np.exp(lr[inside][losses.argmin()]))

    def to_json(self) -> dict[str, Any]:
        """Return the surface as plain data; a diverged run's loss is null."""
        runs = [[u, v, y if np.isfinite(y) else None] for u, v, y in self.runs.tolist()]
        return {
            "centre": self.centre.tolist(),
            "powers": [list(p) for p in POWERS],
            "coefficients": self.coefficients.tolist(),
            "hull": self.hull.tolist(),
            "best": self.best.tolist(),
            "least": self.least,
            "rms": self.rms,
            "runs": runs,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read a surface back from plain data."""
        runs = [[u, v, np.inf if y is None else y] for u, v, y in data["runs"]]
        centre, coefficients, hull, best = (
            np.array(data[name]) for name in ("centre", "coefficients", "hull", "best")
        )
        return cls(centre, coefficients, hull, best, data["least"], data["rms"], np.array(runs))


def fit_regret(lr: Floats, batch_tokens: Floats, loss: Floats) -> RegretSurface:
    """Fit the surface to one cell's runs, arrays (n,); a diverged run has a loss of nan or inf.

    Raises EvidenceError where the runs near the minimum are too few or lie on a line.
    """
    where = np.log(np.stack([lr, batch_tokens], axis=1))
    values = np.where(np.isfinite(loss), loss, np.inf)
    near = values <= (1.0 + NEAR) * values.min()
    if near.sum() <= len(POWERS) or not np.isfinite(values.min()):
        raise EvidenceError(
            f"{int(near.sum())} runs of the target lie within {NEAR:.0%} of its lowest loss; a "
            f"regret surface in lr and batch needs more than {len(POWERS)}"
        )
    try:
        corners = where[near][ConvexHull(where[near]).vertices]
    except QhullError:
        raise EvidenceError(
            "the target's best runs vary in only one of lr and batch; regret needs both"
        ) from None
    centre = where[near].mean(axis=0)
    terms = _terms(where[near] - centre)
    coefficients, _, rank, _ = np.linalg.lstsq(terms, values[near], rcond=None)
    if rank < len(POWERS):
        raise EvidenceError(
            "the target's best runs have too few different learning rates or batches for a cubic; "
            "four of each are needed"
        )
    residual = terms @ coefficients - values[near]
    best, least = _minimum(coefficients, centre, corners)
    return RegretSurface(
        centre,
        coefficients,
        corners,
        best,
        least,
        float(np.sqrt(np.mean(residual**2))),
        np.column_stack([where, values]),
    )


def _terms(off: Floats) -> Floats:
    """Return u^i v^j, shape (n, 10)."""
    return np.stack([off[:, 0] ** i * off[:, 1] ** j for i, j in POWERS], axis=1)


def _inside(hull: Floats, where: Floats) -> Flags:
    """Say which points (n, 2) lie in a convex polygon with counter-clockwise corners (h, 2)."""
    edge = np.roll(hull, -1, axis=0) - hull
    off = where[:, None] - hull[None]
    side = edge[:, 0] * off[..., 1] - edge[:, 1] * off[..., 0]
    return np.asarray((side >= -TOLERANCE * np.linalg.norm(edge, axis=1)).all(axis=1))


def _minimum(coefficients: Floats, centre: Floats, hull: Floats) -> tuple[Floats, float]:
    """Return where in the hull the cubic is lowest, and its value: a grid, then a polish."""
    axes = [
        np.linspace(low, high, GRID) for low, high in zip(hull.min(0), hull.max(0), strict=True)
    ]
    grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    grid = np.concatenate([grid[_inside(hull, grid)], hull])
    losses = _terms(grid - centre) @ coefficients
    start = grid[losses.argmin()]

    def loss(x: Floats) -> float:
        if not _inside(hull, x[None])[0]:
            return float(losses.max())
        return float((_terms(x[None] - centre) @ coefficients)[0])

    found = minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-12})
    best = found.x if found.fun < losses.min() else start
    return np.asarray(best, dtype=np.float64), float(min(found.fun, losses.min()))
