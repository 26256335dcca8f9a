"""The valley of the loss along one level of compute, and where its bottom lies.

At fixed C the loss is a function of v = ln N, here less the mean of its level. Three families:

    parabola   a0 + a1 v + a2 v^2
    cubic      a0 + a1 v + a2 v^2 + a3 v^3
    valley     a0 + a1 s(v) + a2 t(v),  alpha and beta shared by all levels,
               s = (e^(beta v) - e^(-alpha v)) / (alpha + beta)
               t = 2 (alpha e^(beta v) + beta e^(-alpha v) - alpha - beta)
                   / (alpha beta (alpha + beta))

The valley is what E + A N^-alpha + B D^-beta is at fixed C, whatever its coefficients do from level
to level; for small exponents it is the parabola, s -> v, t -> v^2. Coefficients are linear, so they
integrate out and only (alpha, beta) is searched, with the prior LogNormal(ln .4, .5) of science F4.
The cubic looks at the runs near the bottom alone (:mod:`planner.fit.window`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize

from planner.arrays import Floats

COEFFICIENTS = {"parabola": 3, "cubic": 4, "valley": 3}
EXPONENT_CENTRE, EXPONENT_SD = float(np.log(0.4)), 0.5
SPAN = np.log((0.02, 2.0))
COARSE, CELLS, NEGLIGIBLE = 12, (20, 20, 20), 10.0
OUTLIER = 3.0
"""Rows farther than this many robust sd are weighed down: one bad run must not move its level."""
TINY = 1e-26


@dataclass(frozen=True)
class Profiles:
    """Levels side by side, padded with rows of weight zero; arrays (L, m) unless said.

    ``v`` is ln N less the level's ``middle`` (L,), ``loss`` the loss moved to the level's C,
    ``weights`` are 1 / loss^2 of the real losses times the outliers' discount: what noise leaves of
    a run. ``near`` is what a window leaves of it (1 without; :mod:`planner.fit.window`). ``shift``
    is ln C of a run less the level's ``log_flops`` (L,), ``rows`` the run's place in the table.
    """

    v: Floats
    loss: Floats
    weights: Floats
    near: Floats
    shift: Floats
    rows: np.ndarray
    middle: Floats
    log_flops: Floats

    @classmethod
    def of(cls, params: Floats, flops: Floats, loss: Floats, level: np.ndarray) -> Profiles:
        """Arrange runs (n,) by ``level`` (n,), 0 to L - 1; runs at -1 are left out."""
        order = np.lexsort((loss, params))  # so that draws do not depend on the rows' order
        members = [order[level[order] == k] for k in range(int(level.max()) + 1)]
        width = max(len(m) for m in members)
        rows = np.stack([np.resize(m, width) for m in members])
        real = np.arange(width) < np.array([len(m) for m in members])[:, None]
        log_c = np.log(flops)[rows]
        log_flops = log_c.mean(axis=1, where=real)
        shift = log_c - log_flops[:, None]
        v = np.log(params)[rows] - shift / 2
        middle = v.mean(axis=1, where=real)
        weights = real / loss[rows] ** 2
        near = np.ones_like(v)
        whole = cls(v - middle[:, None], v, weights, near, shift, rows, middle, log_flops)
        return whole.with_loss(loss)

    @property
    def real(self) -> np.ndarray:
        """Say which entries are runs, not padding."""
        return np.asarray(self.weights > 0)

    @property
    def precision(self) -> Floats:
        """Return the weights (L, m), 1 for padding, by whose root the noise of a loss is less."""
        return np.where(self.real, self.weights, 1.0)

    @property
    def n(self) -> int:
        """Return the number of runs."""
        return int(self.real.sum())

    def with_loss(self, loss: Floats) -> Profiles:
        """Return the same design with other losses (n,), moved to the levels' C.

        A run at C moves along the trend of all runs; its size moves as C^(1/2). Runs of a level
        agree within a third of an e-fold, so that first order is enough.
        """
        found = loss[self.rows]
        x = (self.log_flops[:, None] + self.shift)[self.real]
        away = x - x.mean()
        slope = float((away * np.log(found[self.real])).sum() / (away**2).sum())
        return replace(self, loss=found * np.exp(-slope * self.shift))


def basis(method: str, v: Floats, shape: Floats) -> Floats:
    """Return the columns (..., k) at v (...); ``shape`` (..., 2) is (alpha, beta), broadcast."""
    if method != "valley":
        return np.stack([v**power for power in range(COEFFICIENTS[method])], axis=-1)
    alpha, beta = shape[..., 0], shape[..., 1]
    up, down, both = np.expm1(beta * v), np.expm1(-alpha * v), alpha + beta
    bend = 2.0 * (alpha * up + beta * down) / (alpha * beta * both)
    return np.stack([np.ones_like(up), (up - down) / both, bend], axis=-1)


def bottom(method: str, a: Floats, shape: Floats) -> Floats:
    """Return v at the minimum (...) for coefficients (..., k); nan where there is none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        if method == "valley":
            alpha, beta = shape[..., 0], shape[..., 1]
            size, data = 2.0 * a[..., 2] - alpha * a[..., 1], 2.0 * a[..., 2] + beta * a[..., 1]
            low = np.log(size / data) / (alpha + beta)
            return np.where((size > 0) & (data > 0), low, np.nan)
        third = 3.0 * a[..., 3] if method == "cubic" else 0.0
        steep = a[..., 2] + np.sqrt(a[..., 2] ** 2 - third * a[..., 1])
        return np.where(steep > 0, -a[..., 1] / steep, np.nan)


@dataclass(frozen=True)
class Fitted:
    """Coefficients (B, L, k) for shapes (B, 2), how they follow the losses, and what is left.

    ``response`` (B, L, k, m) is d a / d loss, ``r`` (B, L, m) are the residuals in nats, ``left``
    (B,) their weighted sum of squares, ``log_volume`` (B,) half the sum of the Gram determinants'
    logs.
    """

    shape: Floats
    a: Floats
    response: Floats
    r: Floats
    left: Floats
    log_volume: Floats


def coefficients(profiles: Profiles, method: str, shape: Floats) -> Fitted:
    """Fit every level's coefficients at each shape (B, 2) by weighted least squares."""
    x = basis(method, profiles.v, shape[:, None, None, :])
    x = np.broadcast_to(x, (len(shape), *x.shape[-3:]))
    weighted = np.swapaxes(x * (profiles.weights * profiles.near)[..., None], -1, -2)
    gram = weighted @ x
    response = np.asarray(np.linalg.inv(gram) @ weighted)
    a = (response @ profiles.loss[..., None])[..., 0]
    r = profiles.loss - (x @ a[..., None])[..., 0]
    left = (profiles.weights * r * r).sum(axis=(-1, -2))
    volume = np.asarray(np.linalg.slogdet(gram)[1].sum(axis=-1) / 2, dtype=np.float64)
    return Fitted(shape, a, response, r, np.maximum(left, TINY), volume)


def fit(profiles: Profiles, method: str) -> Fitted:
    """Return the best fit, B = 1: for the valley the most probable (alpha, beta)."""
    if method != "valley":
        return coefficients(profiles, method, np.ones((1, 2)))
    coarse = _grid(np.full(2, SPAN[0]), (SPAN[1] - SPAN[0]) / COARSE, COARSE)
    density = _log_density(profiles, coefficients(profiles, method, np.exp(coarse)))
    start = coarse[int(np.argmax(density))]

    def cost(ln_shape: Floats) -> float:
        inside = np.exp(np.clip(ln_shape, *SPAN))[None]
        return -float(_log_density(profiles, coefficients(profiles, method, inside))[0])

    end = minimize(
        cost,
        start,
        method="Nelder-Mead",
        options={"xatol": 1e-7, "fatol": 1e-10, "maxfev": 400},
    )
    return coefficients(profiles, method, np.exp(np.clip(end.x, *SPAN))[None])


def _cells(profiles: Profiles) -> tuple[Fitted, Floats]:
    """Zoom a grid of (alpha, beta) into where the density is; also return the cells' log width."""
    low, high = np.full(2, SPAN[0]), np.full(2, SPAN[1])
    for count in CELLS:
        width = (high - low) / count
        grid = _grid(low, width, count)
        cells = coefficients(profiles, "valley", np.exp(grid))
        density = _log_density(profiles, cells)
        alive = grid[density > density.max() - NEGLIGIBLE]
        low, high = alive.min(axis=0) - width, alive.max(axis=0) + width
    return cells, width


def _grid(low: Floats, width: Floats, count: int) -> Floats:
    """Return the middles (count^2, 2) of cells of a log width from a corner on."""
    middle = low[:, None] + np.broadcast_to(width, 2)[:, None] * (np.arange(count) + 0.5)
    return np.stack(np.meshgrid(*middle), axis=-1).reshape(-1, 2)


def _log_density(profiles: Profiles, fitted: Fitted) -> Floats:
    freedom = max(profiles.n - fitted.a[0].size, 1)
    prior = -0.5 * (((np.log(fitted.shape) - EXPONENT_CENTRE) / EXPONENT_SD) ** 2).sum(axis=1)
    return np.asarray(-freedom / 2 * np.log(fitted.left) - fitted.log_volume + prior)


def calmed(profiles: Profiles, method: str) -> tuple[Profiles, float]:
    """Weigh outliers down; also return the robust sd of ln L about the valleys."""
    plain = profiles.weights
    for _ in range(3):
        found = fit(profiles, method)
        r = np.abs(np.sqrt(plain) * found.r[0])
        freedom = max(profiles.n - found.a[0].size, 1)
        middle = 1.4826 * np.median(r[profiles.real])
        sigma = float(middle * np.sqrt(profiles.n / freedom))
        far = np.maximum(r / max(sigma, 1e-9), 1e-300)
        profiles = replace(profiles, weights=plain * np.minimum(1.0, OUTLIER / far))
    return profiles, sigma


def draw(
    profiles: Profiles,
    method: str,
    size: int,
    rng: np.random.Generator,
    scatter: tuple[float, int] | None = None,
) -> tuple[Floats, Floats]:
    """Draw shapes (S, 2) and coefficients (S, L, k); the noise has one sd for all levels.

    ``scatter`` is a sum of squares and its degrees of freedom that tell this sd instead of the
    fit's own; a window leaves too few runs to tell.
    """
    if method == "valley":
        cells, width = _cells(profiles)
        density = _log_density(profiles, cells)
        mass = np.exp(density - density.max())
        pick = rng.choice(len(mass), size, p=mass / mass.sum())
        shape = cells.shape[pick] * np.exp(width * rng.uniform(-0.5, 0.5, (size, 2)))
        found = coefficients(profiles, method, shape)
    else:
        found = fit(profiles, method)
    left, freedom = scatter or (found.left, max(profiles.n - found.a[0].size, 1))
    sigma = np.sqrt(left / rng.chisquare(freedom, size))
    normal = rng.standard_normal((size, *profiles.v.shape)) / np.sqrt(profiles.precision)
    noise = (found.response @ normal[..., None])[..., 0]
    a = found.a + sigma[:, None, None] * noise
    return np.broadcast_to(found.shape, (size, 2)), a


def log_bottoms(profiles: Profiles, method: str, a: Floats, shape: Floats) -> Floats:
    """Return ln N (B, L) at the bottoms; nan where none lies between the level's sizes."""
    v = bottom(method, a, shape[:, None, :])
    low, high = ends(profiles)
    with np.errstate(invalid="ignore"):
        return np.where((v > low) & (v < high), v + profiles.middle, np.nan)


def drawn_bottoms(profiles: Profiles, method: str, a: Floats, shape: Floats) -> Floats:
    """Return ln N (S, L) at drawn bottoms, none farther out than half the level's width.

    A draw without a bottom ends at the side on which its loss is lower.
    """
    low, high = ends(profiles)
    reach = (high - low) / 2
    v = bottom(method, a, shape[:, None, :])
    left, right = ((basis(method, end, shape[:, None, :]) * a).sum(axis=-1) for end in (low, high))
    v = np.where(np.isfinite(v), v, np.where(left < right, -np.inf, np.inf))
    return np.asarray(np.clip(v, low - reach, high + reach) + profiles.middle)


def ends(profiles: Profiles) -> tuple[Floats, Floats]:
    """Return v at the smallest and the largest size of each level, each (L,)."""
    low = np.where(profiles.real, profiles.v, np.inf).min(axis=1)
    return low, np.where(profiles.real, profiles.v, -np.inf).max(axis=1)
