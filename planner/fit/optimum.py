"""Where a one-dimensional basin has its minimum, with an interval that knows it is lopsided.

    L(x) = L* + k_low (x - x*)^2 below x*,  k_high (x - x*)^2 above,      x = ln lr or ln B

The value people quote is the vertex of the parabola through the three points round the best one.
The interval is the posterior over a grid of (x*, k_low, k_high), with L* and the noise level
integrated out and log-normal beliefs about the curvatures and their ratio. A real basin is
quadratic only near its minimum, so a point counts with a model error of MISFIT times its rise above
the best and its distance from it. A diverged run is a bound: its loss is at least that of the best.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr

from planner.arrays import Floats
from planner.estimate import LEVEL
from planner.fit.priors import Normal

MISFIT = 0.1
"""Model error as a share of a point's rise above the best, per x2 step away from it: the first term
neglected is cubic, so the quadratic form is good to a tenth one step away, to a third at three."""

REACH = 3.0
"""How far beyond the tested range x* may lie (ln 20)."""

GRID, CURVATURES = 241, 25
"""Points of the posterior's grid along x*, and along each ln k within +-3 sd."""

SURE = 0.9
"""Probability that x* lies inside the tested range at which an end counts as interior."""


@dataclass(frozen=True, slots=True)
class Basin:
    """A located minimum; x in ln units, losses in nats."""

    x: float
    """Posterior mean of x*."""
    sd: float
    low: float
    """Ends of the 90 % interval of x*."""
    high: float
    vertex: float
    """Vertex of the three-point parabola, clipped to its points."""
    floor: float
    """Posterior mean of L*."""
    floor_sd: float
    log_k_low: Normal
    log_k_high: Normal
    flat: tuple[float, float]
    """Where the expected loss is within the tolerance of the minimum."""
    interior_low: bool
    """The tested range reaches below x*; when False, ``low`` is no more than a guess."""
    interior_high: bool

    @property
    def interior(self) -> bool:
        """Say whether the minimum lies inside the tested range on both sides."""
        return self.interior_low and self.interior_high

    def to_json(self) -> dict[str, Any]:
        """Return the basin as plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read a basin back from plain data."""
        curvatures = {name: Normal(**data[name]) for name in ("log_k_low", "log_k_high")}
        return cls(**(dict(data) | curvatures | {"flat": tuple(data["flat"])}))


@dataclass(frozen=True)
class Points:
    """Losses measured at x, all arrays (n,); a nan loss is a diverged run; x may repeat (seeds)."""

    x: Floats
    loss: Floats
    sd: Floats
    """Noise of each loss in nats, known up to a common factor"""
    df: float
    """whose square follows scaled inverse chi-square with so many degrees of freedom."""

    @property
    def done(self) -> npt.NDArray[np.bool_]:
        """Which losses are values."""
        return np.isfinite(self.loss)


@dataclass(frozen=True)
class Density:
    """Posterior of x* under a flat prior: an even grid (G,) and probabilities that sum to 1."""

    x: Floats
    probability: Floats

    def quantile(self, q: float) -> float:
        """Return the q-quantile."""
        return float(np.interp(q, np.cumsum(self.probability), self.x))

    def mean_sd(self) -> tuple[float, float]:
        """Return mean and standard deviation."""
        return moments(self.x, self.probability)


def locate(
    points: Points,
    curvature: tuple[Normal, Normal],
    *,
    tolerance: float,
    sides: float | None = None,
) -> tuple[Basin, Density]:
    """Locate the minimum of measured losses; x* within ln 20 of the tested range.

    ``curvature`` holds the beliefs about (ln k_low, ln k_high), ``sides`` the sd of their
    difference round the believed one where they are known to be alike (None: independent),
    ``tolerance`` (nats) says what counts as flat. At least two losses must be values, at two
    different x.
    """
    x, loss, ok = points.x, points.loss, points.done
    if np.unique(x[ok]).size < 2:
        raise ValueError("a basin needs finished runs at two different settings or more")
    grid = np.linspace(x.min() - REACH, x.max() + REACH, GRID)
    steps = np.linspace(-3.0, 3.0, CURVATURES)
    log_k = [belief.mean + belief.sd * steps for belief in curvature]
    belief = _belief(log_k[0], log_k[1], curvature, sides)
    weight, floors, floor_var = _posterior(points, (grid, log_k[0], log_k[1]), belief)
    density = Density(grid, weight.sum((1, 2)))
    k_low = Normal(*moments(log_k[0], weight.sum((0, 2))))
    k_high = Normal(*moments(log_k[1], weight.sum((0, 1))))
    floor, spread = moments(floors, weight)
    centre, width = density.mean_sd()
    inside = _interior(points, density)
    basin = Basin(
        x=centre,
        sd=width,
        low=density.quantile((1 - LEVEL) / 2),
        high=density.quantile((1 + LEVEL) / 2),
        vertex=parabola(x[ok], loss[ok]),
        floor=floor,
        floor_sd=float(np.hypot(spread, np.sqrt(floor_var))),
        log_k_low=k_low,
        log_k_high=k_high,
        flat=_flat(density, np.exp(k_low.mean), np.exp(k_high.mean), tolerance),
        interior_low=inside[0],
        interior_high=inside[1],
    )
    return basin, density


def parabola(x: Floats, loss: Floats) -> float:
    """Return the vertex through the best point and its neighbours, clipped to these.

    Repeated x are averaged; at an end of the grid the best point itself is returned.
    """
    places, inverse = np.unique(x, return_inverse=True)
    mean = np.bincount(inverse, loss) / np.bincount(inverse)
    best = int(np.argmin(mean))
    if best in (0, len(places) - 1):
        return float(places[best])
    around = slice(best - 1, best + 2)
    shift = places[around] - places[best]
    quadratic, slope, _ = np.polyfit(shift, mean[around], 2)
    vertex = -slope / (2 * quadratic) if quadratic > 0 else 0.0
    return float(places[best] + np.clip(vertex, shift[0], shift[2]))


def moments(values: Floats, weight: Floats) -> tuple[float, float]:
    """Return mean and standard deviation of values under weights that sum to 1."""
    mean = float(np.sum(weight * values))
    return mean, float(np.sqrt(max(np.sum(weight * (values - mean) ** 2), 0.0)))


def _belief(
    log_low: Floats, log_high: Floats, curvature: tuple[Normal, Normal], sides: float | None
) -> Floats:
    """Return the log of the belief (K, K) about the curvatures, up to a constant."""
    low, high = log_low[:, None] - curvature[0].mean, log_high - curvature[1].mean
    belief = -0.5 * ((low / curvature[0].sd) ** 2 + (high / curvature[1].sd) ** 2)
    return belief if sides is None else belief - 0.5 * ((high - low) / sides) ** 2


def _posterior(
    points: Points, axes: tuple[Floats, Floats, Floats], belief: Floats
) -> tuple[Floats, Floats, float]:
    """Return weights (G, K, K) that sum to 1, L* given (x*, k_low, k_high), its variance."""
    loss, sd, ok = points.loss, points.sd, points.done
    best = float(loss[ok].min())
    x, mean, precision, within = _pooled(points, best)
    floor_var = float(1 / precision.sum())
    gap = mean - _rise(x, axes)
    floors = gap @ precision * floor_var
    squares = (gap - floors[..., None]) ** 2 @ precision + within
    log_weight = -0.5 * (points.df + ok.sum() - 1) * np.log1p(squares / points.df)
    if not ok.all():
        bounds = np.stack([points.x[~ok], sd[~ok]])
        (x, sd), counts = np.unique(bounds, axis=1, return_counts=True)
        beyond = (floors[..., None] + _rise(x, axes) - best) / np.sqrt(sd**2 + floor_var)
        log_weight = log_weight + log_ndtr(beyond) @ counts
    log_weight += belief
    weight = np.exp(log_weight - log_weight.max())
    return weight / weight.sum(), floors, floor_var


def _pooled(points: Points, best: float) -> tuple[Floats, Floats, Floats, float]:
    """Return x, mean loss and precision of every place, and the squares within the places.

    They say of the posterior all that the single losses say; so a trial may be repeated a thousand
    times.
    """
    ok = points.done
    x, loss = points.x[ok], points.loss[ok]
    away = np.abs(x - x[np.argmin(loss)]) / np.log(2)
    precision = np.hypot(points.sd[ok], MISFIT * away * (loss - best)) ** -2
    places, at = np.unique(x, return_inverse=True)
    if len(places) == len(x):
        return x, loss, precision, 0.0
    weight = np.bincount(at, precision)
    mean = np.bincount(at, precision * loss) / weight
    return (
        places,
        mean,
        np.asarray(weight, dtype=np.float64),
        float(precision @ (loss - mean[at]) ** 2),
    )


def _rise(x: Floats, axes: tuple[Floats, Floats, Floats]) -> Floats:
    """Return the rise above L* at x (n,) under every (x*, k_low, k_high), (G, K, K, n)."""
    grid, log_low, log_high = axes
    u = x - grid[:, None]
    below, above = np.where(u < 0, u**2, 0.0), np.where(u >= 0, u**2, 0.0)
    low = np.exp(log_low)[:, None, None] * below[:, None, None]
    return np.asarray(low + np.exp(log_high)[:, None] * above[:, None, None], dtype=np.float64)


def _interior(points: Points, density: Density) -> tuple[bool, bool]:
    """Say whether x* lies above the lowest and below the highest point tested.

    A diverged run tests the side above the best one, and only that.
    """
    x, ok = points.x, points.done
    best = x[ok][np.argmin(points.loss[ok])]
    tested = x if ok.all() else x[ok | (x > best)]
    low, high = tested.min(), tested.max()
    above = density.probability[density.x > low].sum() >= SURE
    below = density.probability[density.x < high].sum() >= SURE
    return bool(best > low and above), bool(best < high and below)


def _flat(density: Density, k_low: float, k_high: float, tolerance: float) -> tuple[float, float]:
    """Return the ends of {x: expected loss <= its minimum + tolerance}."""
    u = density.x[:, None] - density.x
    expected = np.where(u < 0, k_low, k_high) * u**2 @ density.probability
    inside = density.x[expected <= expected.min() + tolerance]
    return float(inside[0]), float(inside[-1])
