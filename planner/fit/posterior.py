"""Exact posterior draws of a sum of power laws from few, clustered runs.

Given the exponents (and rho) the law is linear in c = (E, a, b), a and b the terms at the centre of
the data. In relative errors r_i = L(N_i, D_i) / L_i - 1, with noise equicorrelated by rho inside a
group and sigma integrated out, c integrates in closed form:

    ln p(alpha, beta, rho) = -(n - 3 + nu0)/2 ln(Q + nu0 s0^2) - 1/2 ln|G| - 1/2 ln|V(rho)|
                             + ln P(E > 0) + ln prior

where G = X' V^-1 X, and Q is the whitened sum of squares left. So the exponents are drawn from a
refined grid and c from a t distribution with E > 0: no chain, no burn-in, and the curved ridge of E
against alpha is followed exactly. Priors: alpha, beta ~ LogNormal(ln .4, .5), c flat and positive,
rho as in :func:`log_prior_rho`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from planner.arrays import Floats
from planner.fit.laws import BOUNDS, FLOOR, PowerSum
from planner.fit.points import Points

EXPONENT_CENTRE, EXPONENT_SD = float(np.log(0.4)), 0.5
"""Prior of ln alpha and ln beta (science F4.2): published laws lie within .25 to .7."""
NOISE_PRIOR = (1.0, 0.003)
"""Degrees of freedom and sd of ln L: run-to-run noise of small transformers is .002 to .01."""
RHO = 1.0 / (1.0 + np.exp(-np.linspace(-5.0, 5.0, 9)))
"""Correlations inside a group: the ratio of shared to own variance, evenly spaced in its log."""
CELLS = (16, 24, 40)
NEGLIGIBLE = 10.0
"""Cells this far (in ln density) below the best are cut off by the next, finer grid."""


def log_prior_rho(rho: Floats) -> Floats:
    """Return the log prior of the spacing of RHO: d rho / (sqrt(rho) (1 - rho)).

    A scale for the shared variance, that may well be zero.
    """
    return np.asarray(0.5 * np.log(np.maximum(rho, RHO[0])))


@dataclass(frozen=True)
class _Cells:
    """Exponents (cells, 2) and rho (cells,), with what the linear part leaves for each."""

    exponents: Floats
    rho: Floats
    mean: Floats
    covariance: Floats
    left: Floats
    log_density: Floats


def sample(
    points: Points, law: PowerSum, group: Floats, size: int, rng: np.random.Generator
) -> tuple[Floats, Floats, float]:
    """Return draws (size, n_free) of the free coordinates, their mode, and the median rho.

    ``group`` is the 0/1 matrix (n, G) of rows in independent groups.
    """
    rho = RHO if group.shape[1] < len(group) else np.zeros(1)
    cells, width = _refined(points, law, group, rho)
    picks = _pick(cells, law, width, 2 * size, rng)
    chosen = _cells(points, group, *picks)
    coefficients = _coefficients(chosen, len(points.y), rng)
    positive = np.flatnonzero((coefficients > 0).all(axis=1))
    keep = np.resize(positive, size) if len(positive) else np.arange(size)
    kept = np.maximum(coefficients[keep], FLOOR)
    unit = points.y.mean()
    phi = np.column_stack([np.log(kept) + unit, chosen.exponents[keep]])
    best = int(np.argmax(cells.log_density))
    top = np.log(np.maximum(cells.mean[best], FLOOR)) + unit
    first = [law.free.index(p) for p in range(law.n_free)]
    mode = np.concatenate([top, cells.exponents[best]])
    return phi[:, first], mode[first], float(np.median(chosen.rho))


def _refined(points: Points, law: PowerSum, group: Floats, rho: Floats) -> tuple[_Cells, Floats]:
    """Zoom a grid of exponents into where the density is; also return the cells' log width."""
    tied = law.tied
    low, high = np.log([BOUNDS[0]] * 2), np.log([BOUNDS[1]] * 2)
    for count in CELLS:
        width = (high - low) / count
        alpha, beta = (low[i] + width[i] * (np.arange(count) + 0.5) for i in (0, 1))
        pairs = (
            np.column_stack([alpha, alpha])
            if tied
            else np.stack(np.meshgrid(alpha, beta), axis=-1).reshape(-1, 2)
        )
        exponents = np.exp(np.tile(pairs, (len(rho), 1)))
        cells = _cells(points, group, exponents, np.repeat(rho, len(pairs)))
        density = cells.log_density + _log_prior(np.log(exponents), law)
        density += log_prior_rho(cells.rho)
        cells = _Cells(exponents, cells.rho, cells.mean, cells.covariance, cells.left, density)
        likely = density > density.max() - NEGLIGIBLE
        rho, alive = np.unique(cells.rho[likely]), np.log(exponents[likely])
        low, high = alive.min(axis=0) - width, alive.max(axis=0) + width
    return cells, width


def _log_prior(ln_exponents: Floats, law: PowerSum) -> Floats:
    once = ln_exponents[:, : law.n_free - 3]
    return np.asarray(-0.5 * (((once - EXPONENT_CENTRE) / EXPONENT_SD) ** 2).sum(axis=1))


def _pick(
    cells: _Cells, law: PowerSum, width: Floats, size: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Draw exponents (uniform inside a drawn cell) and rho."""
    mass = np.exp(cells.log_density - cells.log_density.max())
    index = rng.choice(len(mass), size, p=mass / mass.sum())
    jitter = rng.uniform(-0.5, 0.5, (size, 2))
    if law.tied:
        jitter = jitter[:, :1]
    return cells.exponents[index] * np.exp(width * jitter), cells.rho[index]


def _cells(points: Points, group: Floats, exponents: Floats, rho: Floats) -> _Cells:
    """Integrate out (E, a, b) and sigma at every exponent pair and rho."""
    moments = _moments(points, group, exponents, rho)
    gram, target = moments[:, :3, :3], moments[:, :3, 3]
    scale = np.sqrt(np.diagonal(gram, axis1=1, axis2=2))
    gram = gram / (scale[:, :, None] * scale[:, None, :]) + 1e-11 * np.eye(3)
    inverse = np.linalg.inv(gram)
    solved = (inverse @ (target / scale)[..., None])[..., 0]
    nu0, s0 = NOISE_PRIOR
    left = np.maximum(moments[:, 3, 3] - (solved * target / scale).sum(axis=1), 0) + nu0 * s0**2
    mean, covariance = solved / scale, inverse / (scale[:, :, None] * scale[:, None, :])
    freedom = len(points.y) - 3 + nu0
    spread = np.sqrt(left / freedom * covariance[:, 0, 0])
    log_density = (
        -freedom / 2 * np.log(left)
        - np.linalg.slogdet(gram)[1] / 2
        - np.log(scale).sum(axis=1)
        - _log_determinant(group, rho) / 2
        + np.log(np.maximum(stdtr(freedom, mean[:, 0] / spread), 1e-300))
    )
    return _Cells(exponents, rho, mean, covariance, left, log_density)


def _moments(points: Points, group: Floats, exponents: Floats, rho: Floats) -> Floats:
    """Return the whitened cross products (cells, 4, 4) of the three terms and the target."""
    relative = np.sqrt(points.weights) * np.exp(points.y.mean() - points.y)
    columns = np.empty((len(exponents), len(points.y), 4))
    columns[..., 0] = relative
    columns[..., 1] = relative * np.exp(-exponents[:, :1] * points.x)
    columns[..., 2] = relative * np.exp(-exponents[:, 1:] * points.z)
    columns[..., 3] = np.sqrt(points.weights)
    own = np.swapaxes(columns, 1, 2) @ columns
    if group.shape[1] == len(group):
        return own
    sums = group.T @ columns
    shrink = rho[:, None] / (1.0 - rho[:, None] + rho[:, None] * group.sum(axis=0))
    shared = np.swapaxes(sums * shrink[..., None], 1, 2) @ sums
    return np.asarray((own - shared) / (1.0 - rho)[:, None, None])


def _log_determinant(group: Floats, rho: Floats) -> Floats:
    count = group.sum(axis=0)
    between = np.log1p(rho[:, None] * (count - 1.0)).sum(axis=1)
    return np.asarray((count.sum() - len(count)) * np.log1p(-rho) + between)


def _coefficients(cells: _Cells, n: int, rng: np.random.Generator) -> Floats:
    """Draw (E, a, b) from its t distribution with E > 0: E first, then a and b given E."""
    freedom = n - 3 + NOISE_PRIOR[0]
    mean, covariance = cells.mean, cells.covariance
    spread = np.sqrt(cells.left / freedom * covariance[:, 0, 0])
    below = stdtr(freedom, -mean[:, 0] / spread)
    u = below + (1.0 - below) * rng.uniform(size=len(mean))
    off = spread * stdtrit(freedom, np.clip(u, 1e-12, 1.0 - 1e-12))
    left = cells.left + off**2 / covariance[:, 0, 0]
    sigma = np.sqrt(left / rng.chisquare(freedom + 1.0, len(mean)))
    slope = covariance[:, 1:, 0] / covariance[:, :1, 0]
    schur = covariance[:, 1:, 1:] - slope[:, :, None] * covariance[:, None, 0, 1:]
    size, cross = np.sqrt(schur[:, 0, 0]), schur[:, 0, 1]
    rest = np.sqrt(np.maximum(schur[:, 1, 1] - cross**2 / schur[:, 0, 0], 0.0))
    first, second = rng.standard_normal((2, len(mean)))
    noise = np.column_stack([size * first, cross / size * first + rest * second])
    others = mean[:, 1:] + slope * off[:, None] + sigma[:, None] * noise
    return np.column_stack([mean[:, 0] + off, others])
