"""Farseer: a floor, an amplitude and an exponent that each bend with size.

    farseer   L = e^(a3 N^gamma + b3) + e^(a2 N^beta + b2) (D / D0)^-e^(a1 N^alpha + b1)

Li et al. 2025 ("Predictable scale, part II: Farseer"), with D0 = 1 token. Every curve over N is a
stretched power; nine free parameters. Held: about 1,000 runs, N 2e8-6.4e9; there it extrapolates
better than any law here, and on 32 points twice as badly as Chinchilla's: not below 30 rows. D0 is
no tenth freedom of the fit: it is put at the middle of the data, because with D0 = 1 the law would
change when tokens are counted in another unit, and its amplitude would be that of a run of one
token. Far outside the data it may fall again without end, so the optimum meant is the local one.

The solver sees each curve over x = ln N - x0 as c + s (e^(k x) - 1)/k: its value and slope in the
middle of the data and its bend k, where k = 0 is a straight line and an ordinary point.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.arrays import Floats
from planner.fit.forms.common import best_size, row
from planner.fit.laws import BOUNDS, FLOOR
from planner.fit.points import Points

BEND, SLOPE = 1.0, 2.0
"""Most a curve's exponent of N, and its slope in ln N at the middle, may be in size."""
_STEEPEST = 5.0
"""Where ln of the exponent is cut off: far outside any data, or numbers end."""
_FAR = 300.0
"""Logs beyond this are as good as zero or infinite: draws far outside the data reach them."""
_KEEP = 20
_BENDS = (-0.6, 0.05, 0.6)
_LEAST_BEND = 1e-6


def stretched(x: Floats, bend: Floats) -> tuple[Floats, Floats]:
    """Return (e^(k x) - 1)/k, shape (B, n), and its slope in k, for x (n,) and k (B, 1)."""
    safe = np.where(np.abs(bend) < 1e-12, 1e-12, bend)
    t = safe * x
    curve = np.expm1(t) / safe
    small = x * x * (0.5 + t * (1 / 3 + t * (0.125 + t / 30)))
    slope = np.where(np.abs(t) < 1e-3, small, (x * np.exp(t) - curve) / safe)
    return curve, slope


@dataclass(frozen=True)
class Farseer:
    """Three stretched powers of N: ln floor, ln amplitude at D0, ln exponent of D."""

    name: str = "farseer"
    formula: str = "e^(a3 N^gamma + b3) + e^(a2 N^beta + b2) (D/D0)^-e^(a1 N^alpha + b1)"
    names: tuple[str, ...] = ("a1", "b1", "a2", "b2", "a3", "b3", "alpha", "beta", "gamma", "D0")
    n_free: int = 9
    least_rows: int = 30
    extra: str = ""

    def predict(
        self, theta: Floats, params: Floats, tokens: Floats, extra: Floats | None = None
    ) -> Floats:
        """Return losses in nats per token, shape (..., n)."""
        floor, data, _, _ = self._terms(theta, params, tokens)
        return floor + data

    def gradient(
        self, theta: Floats, params: Floats, tokens: Floats, extra: Floats | None = None
    ) -> Floats:
        """Return dL/dtheta, shape (..., n, 10)."""
        floor, data, exponent, distance = self._terms(theta, params, tokens)
        x = np.log(np.asarray(params, float))
        powers = [np.exp(row(theta, 6 + i) * x) for i in range(3)]
        bases = [-data * exponent * distance, data, floor]
        slopes = [part for base, p in zip(bases, powers, strict=True) for part in (base * p, base)]
        bends = [row(theta, 2 * i) * x * slopes[2 * i] for i in range(3)]
        unit = data * exponent / row(theta, 9)
        return np.stack(np.broadcast_arrays(*slopes, *bends, unit), axis=-1)

    def _terms(
        self, theta: Floats, params: Floats, tokens: Floats
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """Return the floor, the data term, the exponent of D and ln D/D0, each (..., n)."""
        x = np.log(np.asarray(params, float))
        exponent = np.exp(np.minimum(_curve(theta, 0, x), _STEEPEST))
        distance = np.log(np.asarray(tokens, float)) - np.log(row(theta, 9))
        data = np.exp(np.clip(_curve(theta, 1, x) - exponent * distance, -_FAR, _FAR))
        return self.floor(theta, params), data, exponent, distance

    def floor(self, theta: Floats, params: Floats) -> Floats:
        """Return the loss of these sizes with endless data, shape (..., n): it falls with N."""
        x = np.log(np.atleast_1d(np.asarray(params, float)))
        return np.asarray(np.exp(np.clip(_curve(theta, 2, x), -_FAR, _FAR)))

    def optimal_params(self, theta: Floats, flops: float) -> Floats:
        """Return N*(C), by search."""
        theta = np.asarray(theta, float)
        return best_size(lambda n, d: self.predict(theta, n, d), len(theta), flops)

    def box(self, points: Points) -> tuple[Floats, Floats]:
        """Return the bounds of (slope, value) of the three curves and their three bends."""
        least, top = np.log(FLOOR) + points.y.min(), points.y.max()
        low = [-SLOPE, np.log(BOUNDS[0]), -SLOPE, least, -SLOPE, least]
        high = [SLOPE, np.log(BOUNDS[1]), SLOPE, top, SLOPE, top]
        return np.array(low + [-BEND] * 3), np.array(high + [BEND] * 3)

    def starts(self, points: Points) -> Floats:
        """Return the best of a grid over the exponent's value and slope.

        For a given exponent curve the loss is linear in a floor and an amplitude that are
        quadratic in x; stretched powers are then laid through the two.
        """
        value, slope = (
            grid.ravel()
            for grid in np.meshgrid(np.log(np.geomspace(0.1, 1.0, 10)), np.linspace(-0.2, 0.2, 9))
        )
        floor, data, misfit = _free_curves(points, value, slope)
        least = 1e-2 * np.exp(points.y.min())
        kept = np.argsort(misfit, kind="stable")[:_KEEP]
        out = []
        for i in kept:
            s3, c3, k3 = _lay(points.x, np.log(np.maximum(floor[i], least)))
            s2, c2, k2 = _lay(points.x, np.log(np.maximum(data[i], least)))
            out += [[slope[i], value[i], s2, c2, s3, c3, k1, k2, k3] for k1 in _BENDS]
        return np.array(out)

    def evaluate(self, points: Points, phi: Floats) -> tuple[Floats, Floats]:
        """Return ln L (B, n) and its slopes (B, n, 9)."""
        (e, e_s, e_k), (g, g_s, g_k), (f, f_s, f_k) = (
            _bent(points.x, phi[:, [2 * i, 2 * i + 1, 6 + i]]) for i in range(3)
        )
        exponent = np.exp(np.minimum(e, _STEEPEST))
        data = np.clip(g - points.z * exponent, -_FAR, _FAR)
        log_loss = np.logaddexp(np.clip(f, -_FAR, _FAR), data)
        by_data = np.exp(data - log_loss)
        by_floor, by_exponent = 1.0 - by_data, -by_data * points.z * exponent
        out = np.empty((len(phi), 9, len(points)))
        out[:, 0], out[:, 1], out[:, 6] = by_exponent * e_s, by_exponent, by_exponent * e_k
        out[:, 2], out[:, 3], out[:, 7] = by_data * g_s, by_data, by_data * g_k
        out[:, 4], out[:, 5], out[:, 8] = by_floor * f_s, by_floor, by_floor * f_k
        return log_loss, np.swapaxes(out, 1, 2)

    def theta_of(self, points: Points, phi: Floats) -> Floats:
        """Turn phi (..., 9) into (a1, b1, a2, b2, a3, b3, alpha, beta, gamma, D0)."""
        bends = phi[..., 6:]
        bends = np.where(np.abs(bends) < _LEAST_BEND, _LEAST_BEND, bends)
        scaled = phi[..., 0:6:2] / bends
        pairs = np.stack([scaled * np.exp(-bends * points.x0), phi[..., 1:6:2] - scaled], axis=-1)
        unit = np.full((*phi.shape[:-1], 1), np.exp(points.z0))
        return np.concatenate([pairs.reshape(*phi.shape[:-1], 6), bends, unit], axis=-1)


def _curve(theta: Floats, index: int, x: Floats) -> Floats:
    """Return a N^k + b of the first, second or third curve, shape (..., n)."""
    a, b, k = row(theta, 2 * index), row(theta, 2 * index + 1), row(theta, 6 + index)
    return np.asarray(a * np.exp(k * x) + b)


def _bent(x: Floats, curve: Floats) -> tuple[Floats, Floats, Floats]:
    """Return c + s (e^(k x) - 1)/k and its slopes in s and k, for (s, c, k) of shape (B, 3)."""
    s, c, k = (curve[:, i, None] for i in range(3))
    by_s, by_k = stretched(x, k)
    return c + s * by_s, by_s, s * by_k


def _free_curves(points: Points, value: Floats, slope: Floats) -> tuple[Floats, Floats, Floats]:
    """Return floor and amplitude (G, n), quadratic in x, and the misfit (G,) of each exponent."""
    x = points.x / max(float(points.x.std()), 1e-9)
    basis = np.stack([np.ones_like(x), x, x * x], axis=-1)
    exponent = np.exp(np.minimum(value[:, None] + slope[:, None] * points.x, _STEEPEST))
    decay = np.exp(np.clip(-points.z * exponent, -50.0, 50.0))
    columns = np.concatenate(
        [np.broadcast_to(basis, (len(value), *basis.shape)), decay[..., None] * basis], axis=-1
    )
    columns = columns * (np.sqrt(points.weights) / np.exp(points.y))[:, None]
    target, turned = np.sqrt(points.weights), np.swapaxes(columns, 1, 2)
    gram = turned @ columns
    gram += 1e-10 * np.trace(gram, axis1=1, axis2=2)[:, None, None] * np.eye(6)
    found = np.linalg.solve(gram, (turned @ target)[..., None])
    misfit = ((columns @ found)[..., 0] - target) ** 2
    return found[:, :3, 0] @ basis.T, found[:, 3:, 0] @ basis.T, misfit.sum(axis=1)


def _lay(x: Floats, curve: Floats) -> tuple[float, float, float]:
    """Return the (s, c, k) of the stretched power nearest to a curve (n,) over x."""
    bends = np.linspace(-0.6, 0.6, 13) + 0.01
    shape, _ = stretched(x, bends[:, None])
    off = shape - shape.mean(axis=1, keepdims=True)
    slope = (off @ curve) / np.maximum((off * off).sum(axis=1), 1e-300)
    level = curve.mean() - slope * shape.mean(axis=1)
    misfit = ((level[:, None] + slope[:, None] * shape - curve) ** 2).sum(axis=1)
    best = int(misfit.argmin())
    return float(slope[best]), float(level[best]), float(bends[best])


FARSEER = Farseer()
