"""Draws of a law through the losses it predicts: exact where predictions are linear in its phi.

At the solution phi0 of a robust fit the law is replaced by its tangent plane, moves ``J d`` with
J = d ln L / d phi. There the uncertainty is known (Huber 1981, chapter 7; psi = clip(r, +-delta)):

    even noise    d: t draws of covariance s2 (J' W J)^-1,   s2 = K^2 sum w psi^2 / (n - P) / m^2
    shared noise  the same, whitened for a correlation rho inside groups, rho integrated out
    uneven noise  d: t draws of covariance A^-1 (sum_g s_g s_g') A^-1,   A = J' diag(c psi') J

m is the mean of psi', K = 1 + P / n var(psi') / m^2, s_g = sum c psi j / sqrt(1 - leverage of g)
(HC2). Whether a residual lies inside delta is asked of r / sqrt(1 - leverage), and in HC2 only rows
inside delta have a leverage: with n = 20 to 60 both matter (tests/benchmarks/bench_coverage.py).

Every move is then pulled back through the law itself: the phi whose predictions project as it does,

    T' (ln L(phi) - ln L(phi0)) = T' J d,      T R = J  (QR, rows weighted)

so what is curved in phi alone, like the ridge of E against an exponent, drops out (Bates and Watts
1980: parameter-effects curvature); how far the predictions leave their plane stays, and is small.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc

from planner.arrays import Floats
from planner.fit.laws import Law
from planner.fit.points import Points
from planner.fit.posterior import NOISE_PRIOR, RHO, log_prior_rho

FEW = 3
"""Residual freedoms below which the noise prior stands in for the residuals."""
MOST_LEVERAGE, LEAST_SLOPE = 0.95, 1e-6
UNSEEN = 1e-12
CLOSE = 0.05
"""A draw has arrived when its projection misses by less than this many standard deviations."""
ROUNDS, CHUNK = 12, 128
GAIN = 1e-3
"""A step that lowers the squared miss by less than this share has not helped."""
RIDGE = 1e-12


@dataclass(frozen=True)
class Tangent:
    """A law linearised at its solution, for the n rows that have a say.

    ``slopes`` (n, P) is J, ``weights`` (n,) c = w s, ``psi`` (n,) the clipped residuals ln L_law -
    ln L, ``inside`` (n,) psi' (0 or 1, smoothed where delta is below the residual scale),
    ``square`` (n,) the clipped square of the leverage-adjusted residual, ``member`` (n, G) groups.
    """

    slopes: Floats
    weights: Floats
    psi: Floats
    inside: Floats
    square: Floats
    member: Floats

    @property
    def freedom(self) -> int:
        """Return n - P, at least one."""
        return max(len(self.psi) - int(self.slopes.shape[1]), 1)


def linearise(points: Points, law: Law, free: Floats, delta: float, group: Floats) -> Tangent:
    """Linearise a law at phi ``free`` (P,) for Huber's delta; ``group`` is 0/1, shape (n, G)."""
    log_loss, jacobian = law.evaluate(points, free[None])
    r = log_loss[0] - points.y
    c = points.one_sided(r)
    rows = c > 0.0
    r, jac, c, member = r[rows], jacobian[0][rows], c[rows], group[rows]
    plane = np.linalg.qr(jac * np.sqrt(c)[:, None])[0]
    leverage = np.minimum((plane**2).sum(axis=1), MOST_LEVERAGE)
    adjusted = r / np.sqrt(1.0 - leverage)
    scale = noise_scale(r, law.n_free)
    reach = max(scale - delta, 1e-6 * scale, 1e-12)
    beyond, before = (np.clip(adjusted + s * reach, -delta, delta) for s in (1.0, -1.0))
    return Tangent(
        jac,
        c,
        np.clip(r, -delta, delta),
        np.asarray((beyond - before) / (2.0 * reach)),
        np.minimum(adjusted**2, (2.0 * max(delta, scale)) ** 2),
        member[:, member.any(axis=0)],
    )


def noise_scale(r: Floats, n_free: int) -> float:
    """Return the robust sd of residuals (n,) after ``n_free`` fitted parameters (median of |r|)."""
    n = len(r)
    largest = np.sort(np.abs(r))[min(n_free, n - 1) :] if n > n_free else np.abs(r)
    return float(1.4826 * np.median(largest))


def unevenness(tangent: Tangent, columns: Floats) -> float:
    """Return the p value of noise that is even over ``columns`` (n, k): Koenker's score test."""
    square = tangent.weights * tangent.square
    off = square - square.mean()
    total = float(off @ off)
    if total <= 0.0:
        return 1.0
    left, size, _ = np.linalg.svd(columns - columns.mean(axis=0), full_matrices=False)
    plane = left[:, size > 1e-9 * size[0]]
    explained = float(((plane.T @ off) ** 2).sum())
    return float(chdtrc(plane.shape[1], len(off) * explained / total))


def even_moves(tangent: Tangent, size: int, rng: np.random.Generator) -> tuple[Floats, float]:
    """Return moves d (size, P) for noise shared inside groups, and the median rho."""
    n, p = tangent.slopes.shape
    rho = RHO if tangent.member.shape[1] < n else np.zeros(1)
    moments, log_v = _whitened(tangent, rho)
    root, log_gram = _inverse_root(moments[:, :p, :p])
    reached = np.einsum("rji,rj->ri", root, moments[:, :p, p])
    left = np.maximum(moments[:, p, p] - (reached**2).sum(axis=1), 1e-300)
    if n - p < FEW:
        left = left + NOISE_PRIOR[0] * NOISE_PRIOR[1] ** 2
    weight = log_prior_rho(rho) - ((n - p) * np.log(left) + log_gram + log_v) / 2
    chance = np.exp(weight - weight.max())
    pick = rng.choice(len(rho), size - size // 2, p=chance / chance.sum())
    pick = np.concatenate([pick, pick[: size // 2]])
    scale = np.sqrt(left / tangent.freedom)
    rows = scale[pick, None] * _t_rows(size, p, tangent.freedom, rng)
    moves = np.einsum("sij,sj->si", root[pick], reached[pick] + rows)
    return moves, float(np.median(rho[pick]))


def _whitened(tangent: Tangent, rho: Floats) -> tuple[Floats, Floats]:
    """Return the cross products (R, P + 1, P + 1) of slopes and pseudo-residuals, and ln |V| (R,).

    The pseudo-residuals -K psi / m are what least squares would need to see to give the robust fit
    and its variance.
    """
    (n, p), count = tangent.slopes.shape, tangent.member.sum(axis=0)
    m = max(float(tangent.inside.mean()), LEAST_SLOPE)
    widen = (1.0 + p / n * float(tangent.inside.var()) / m**2) / m
    root = np.sqrt(tangent.weights)
    columns = np.column_stack([tangent.slopes * root[:, None], -widen * root * tangent.psi])
    shrink = rho[:, None] / (1.0 - rho[:, None] + rho[:, None] * count)
    sums = tangent.member.T @ columns
    shared = np.swapaxes(sums * shrink[:, :, None], 1, 2) @ sums
    between = np.log1p(rho[:, None] * (count - 1.0)).sum(axis=1)
    log_v = (n - len(count)) * np.log1p(-rho) + between
    return (columns.T @ columns - shared) / (1.0 - rho)[:, None, None], log_v


def uneven_moves(tangent: Tangent, size: int, rng: np.random.Generator) -> Floats:
    """Return moves d (size, P) that trust every group's own scores, whatever their sizes (HC2)."""
    jac = tangent.slopes
    bread = tangent.weights * np.maximum(tangent.inside, LEAST_SLOPE)
    root = _inverse_root((jac.T @ (jac * bread[:, None]))[None])[0][0]
    leverage = bread * ((jac @ root) ** 2).sum(axis=1)
    share = np.minimum(tangent.member.T @ leverage, MOST_LEVERAGE)
    scores = (tangent.weights * tangent.psi)[:, None] * jac @ root @ root.T
    influence = tangent.member.T @ scores / np.sqrt(1.0 - share)[:, None]
    triangle = np.linalg.qr(influence, mode="r")
    freedom = max(len(influence) - jac.shape[1], 1)
    steps = _t_rows(size, len(triangle), freedom, rng) @ triangle
    return np.asarray(steps - scores.sum(axis=0))


def _inverse_root(gram: Floats) -> tuple[Floats, Floats]:
    """Return W with W W' the inverse of (R, P, P) matrices, and their log determinants (R,).

    Directions the rows do not see get a huge but finite room.
    """
    scale = np.sqrt(np.maximum(np.diagonal(gram, axis1=1, axis2=2), 1e-300))
    size, axes = np.linalg.eigh(gram / (scale[:, :, None] * scale[:, None, :]))
    size = np.maximum(size, UNSEEN)
    root = axes / np.sqrt(size)[:, None, :] / scale[:, :, None]
    return root, np.asarray((np.log(size) + 2.0 * np.log(scale)).sum(axis=1))


def _t_rows(size: int, dimensions: int, freedom: int, rng: np.random.Generator) -> Floats:
    """Return antithetic t rows (size, dimensions)."""
    half = rng.standard_normal((size - size // 2, dimensions))
    half *= np.sqrt(freedom / rng.chisquare(freedom, len(half)))[:, None]
    return np.concatenate([half, -half[: size // 2]])


def pull_back(points: Points, law: Law, start: Floats, moves: Floats) -> Floats:
    """Return the phi (S, P) inside the box whose predictions moved by J d, d a row of ``moves``.

    Where a law is open in a coordinate (E near nothing) start + d lies in a corner of the box, and
    far from the data: such a row begins at the start instead.
    """
    low, high = law.box(points)
    here, jacobian = law.evaluate(points, start[None])
    root = np.sqrt(points.weights)
    plane, triangle = np.linalg.qr(jacobian[0] * root[:, None])
    wanted = moves @ triangle.T
    unit = np.sqrt((wanted**2).mean(axis=0)) + 1e-300
    lens = (plane * root[:, None]).T / unit[:, None]
    home = lens @ here[0]
    goal = wanted / unit + home
    free = np.clip(start + moves, low, high)
    for at in range(0, len(free), CHUNK):
        part = slice(at, at + CHUNK)
        reached = law.evaluate(points, free[part])[0] @ lens.T
        lost = ((goal[part] - reached) ** 2).sum(axis=1) > ((goal[part] - home) ** 2).sum(axis=1)
        begun = np.where(lost[:, None], start, free[part])
        free[part] = _arrive(points, law, begun, lens, goal[part])
    return free


def _arrive(points: Points, law: Law, free: Floats, lens: Floats, goal: Floats) -> Floats:
    """Bring phi (S, P) inside the box as near as can be to where lens @ ln L is the goal (S, P)."""
    low, high = law.box(points)
    free, pace = free.copy(), np.ones(len(free))
    log_loss, jacobian = law.evaluate(points, free)
    gap, slope = goal - log_loss @ lens.T, lens @ jacobian
    miss, live = (gap**2).sum(axis=1), np.arange(len(free))
    for _ in range(ROUNDS):
        live = live[(miss[live] > CLOSE**2) & (pace[live] > 1e-3)]
        if not len(live):
            break
        step = _step(slope[live], gap[live], free[live], (low, high))
        trial = np.clip(free[live] + pace[live, None] * step, low, high)
        log_loss, jacobian = law.evaluate(points, trial)
        new = goal[live] - log_loss @ lens.T
        size = (new**2).sum(axis=1)
        better = size < miss[live] * (1.0 - GAIN)
        kept = live[better]
        free[kept], gap[kept], miss[kept] = trial[better], new[better], size[better]
        slope[kept] = lens @ jacobian[better]
        pace[live] = np.where(better, np.minimum(1.0, 4.0 * pace[live]), pace[live] / 4.0)
    return free


def _step(slope: Floats, gap: Floats, free: Floats, box: tuple[Floats, Floats]) -> Floats:
    """Return Gauss-Newton steps (S, P); a coordinate that presses against its bound is held."""
    uphill = np.einsum("sij,si->sj", slope, gap)
    held = ((free <= box[0]) & (uphill < 0.0)) | ((free >= box[1]) & (uphill > 0.0))
    scale = np.sqrt((slope**2).sum(axis=1)) + 1e-300
    columns = np.where(held[:, None, :], 0.0, slope / scale[:, None, :])
    gram = np.swapaxes(columns, 1, 2) @ columns + RIDGE * np.eye(slope.shape[2])
    target = np.einsum("sij,si->sj", columns, gap)
    return np.asarray(np.linalg.solve(gram, target[..., None])[..., 0] / scale)
