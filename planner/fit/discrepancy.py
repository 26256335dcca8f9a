"""How wrong a law may be beyond the data, learned from where it was wrong inside them.

Beyond the largest compute fitted the mean loss and N* of the right law are taken to depart from the
average of the laws by

    ln L  +=  l r d g                              d = log10(C / C_max) >= 0
    ln N* +=  (n + m h) ((1 - b) d + b d^2)        r = (L - E) / L at C_max

with g, h ~ Student's t, f degrees of freedom, one of each per draw. By default l = .04, m = .15,
n = b = 0 (contracts.md section 1), f = f0 = 4.

The loss. Every rolling origin is one observation of the slope: b_o, that of the average's error
over the decades beyond the origin. What noise and the spread between the laws explain is taken off,
and the rest updates a scaled inverse chi-square

    (l r)^2 = (f0 (.04 r)^2 + sum_o max(b_o^2 - var b_o, 0)) / (f0 + J),     f = f0 + J

in which the default weighs as much as f0 origins. Origins can raise l and not lower it: that a law
held inside the data says little of a bend that shows beyond. The slope acts on ln L, not on
ln(L - E): a law that is wrong has the wrong E as well.

The best size. Sums of powers make ln N* straight in ln C. If it bends by k, a law tilted at each C,

    L(N e^-t, D e^t),    t = k u^2 / 2,    u = log10(C / C_max),

fits better than the law, and the straight line the law lays through R decades of such data has
missed the bent one by k (d^2/2 + R d/2 + R^2/12) at d. The miss at C_max is spread over the first
decade; with n for the miss there, b = 1 / (1 + R + R^2/6) and k = 2 b n. Each law j of weight a_j
says n_j with variance v_j, by a Huber fit of its residuals on its own slopes and on tilts that are
even, linear and quadratic in u (a wrong law misses N* by a line too, which is no bend):

    1/V = 1/V0 + sum_j a_j / (v_j + V0/4),     n = V sum_j a_j n_j / (v_j + V0/4)

with the default's variance V0 = .15^2 f0/(f0 - 2) before and m^2 = V (f - 2)/f after. The quarter
is what a bend inside the data does not tell of the one beyond. An n that has been learned moves the
middle of N* as well as its interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.arrays import Floats
from planner.fit.law_fit import LawFit
from planner.fit.points import Points
from planner.fit.select import Rolling, Rows, Trial

FREEDOM = 4.0
"""Origins that the default is worth."""
LEAST_NOISE = 1e-4
SAME_C = 1e-6
"""Runs within this of log10 C are at one C: rounding must not pick one of them."""
PRIOR_SD = 1.0
"""Of every coordinate (logs of amplitudes and sizes, exponents): what nothing tells is finite."""
UNTOLD = 0.25
"""Share of the default's variance that no bend inside the data takes away beyond them."""
ROUNDS = 8
_STEP, _TILT, _TINY = 1e-2, 1e-3, 1e-300


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """The module's l, m, n, b, r and f, and by how much a failed rung widened intervals.

    ``loss_per_decade`` is a share of L - E at C_max, ``ln_n_per_decade`` of ln N*: both are scales,
    the second of the first decade. ``ln_n_drift`` is the centre there, ``bow`` what is quadratic.
    """

    loss_per_decade: float = 0.04
    ln_n_per_decade: float = 0.15
    ln_n_drift: float = 0.0
    bow: float = 0.0
    reducible: float = 0.25
    freedom: float = FREEDOM
    factor: float = 1.0

    def log_loss(self, decades: Floats, t: Floats) -> Floats:
        """Return the shifts of ln L, shape (S, n), for decades (n,) and t draws (S, 1)."""
        return self.loss_per_decade * self.reducible * decades * t

    def log_params(self, decades: Floats, t: Floats) -> Floats:
        """Return the shifts of ln N*, shape (S, n)."""
        bent = decades * (1.0 - self.bow + self.bow * decades)
        return (self.ln_n_drift + self.ln_n_per_decade * t) * bent


def learned(rolling: Rolling, weights: Floats) -> Discrepancy:
    """Return the discrepancy of the laws averaged with ``weights`` (laws,)."""
    default = Discrepancy(reducible=_reducible(rolling, weights))
    slopes = []
    for o in range(len(rolling.origins)):
        kept = [k for k, w in enumerate(weights) if w > 0 and rolling.trials[k][o] is not None]
        if kept:
            share = np.asarray(weights)[kept] / np.asarray(weights)[kept].sum()
            slopes.append(_unexplained(rolling, o, kept, share) / default.reducible**2)
    squares = FREEDOM * default.loss_per_decade**2 + float(np.maximum(slopes, 0.0).sum())
    freedom = FREEDOM + len(slopes)
    loss_per_decade = max(default.loss_per_decade, float(np.sqrt(squares / freedom)))
    bow, drift, variance = _bent(rolling, weights)
    scale = float(np.sqrt(variance * (freedom - 2.0) / freedom))
    return Discrepancy(loss_per_decade, scale, drift, bow, default.reducible, freedom)


def _unexplained(rolling: Rolling, o: int, kept: list[int], share: Floats) -> float:
    """Return the square of the average's slope, less what noise and the laws' spread explain."""
    origin = rolling.origins[o]
    leverage = origin.votes * origin.decades
    leverage = leverage / (leverage @ origin.decades)
    rows = [_slope(rolling.fits[k], rolling.trials[k][o], origin.after, leverage) for k in kept]
    slope, variance = np.array(rows).T
    mean = float(share @ slope)
    between = float(share @ (slope - mean) ** 2)
    noise = rolling.noise**2 * float(leverage @ leverage)
    return mean**2 - between - float(share @ variance) - noise


def _slope(
    fit: LawFit, trial: Trial | None, after: np.ndarray, leverage: Floats
) -> tuple[float, float]:
    """Return b of one law at one origin, and its variance as if the law were right."""
    assert trial is not None
    before = trial.before
    slopes = fit.law.evaluate(before, trial.solution.free[None])[1][0]
    covariance = _covariance(slopes, before.weights, max(fit.sigma, LEAST_NOISE))
    low, high = fit.law.box(before)
    p = len(trial.solution.free)
    free = np.clip(trial.solution.free + _STEP * np.vstack([np.eye(p), -np.eye(p)]), low, high)
    theta = fit.law.theta_of(before, free)
    width = np.maximum(np.diagonal(free[:p] - free[p:]), 1e-12)
    data = fit.points
    extra = data.extra[after] if fit.law.extra else None
    with np.errstate(over="ignore", invalid="ignore"):
        log_loss = np.log(fit.law.predict(theta, data.params[after], data.tokens[after], extra))
    by_loss = (log_loss[:p] - log_loss[p:]) @ leverage / width
    return float(leverage @ trial.errors), float(by_loss @ covariance @ by_loss)


def _bent(rolling: Rolling, weights: Floats) -> tuple[float, float, float]:
    """Return b, n and V of the best size."""
    points = rolling.fits[0].points
    u = _beyond(points)
    bow = float(1.0 / (1.0 - u.min() + u.min() ** 2 / 6.0))
    default = Discrepancy().ln_n_per_decade ** 2 * FREEDOM / (FREEDOM - 2.0)
    total, told = 0.0, 1.0 / default
    for fit, weight in zip(rolling.fits, weights, strict=True):
        if weight > 0:
            bend, variance = _bend(fit, u, rolling.run)
            precision = weight / (variance / (2.0 * bow) ** 2 + UNTOLD * default)
            total, told = total + precision * bend / (2.0 * bow), told + precision
    return bow, total / told, 1.0 / told


def _bend(fit: LawFit, u: Floats, run: Rows) -> tuple[float, float]:
    """Return k of one law and its variance; rows of one ``run`` (n,) may share their noise."""
    points, law, theta = fit.points, fit.law, fit.solution.theta
    extra = points.extra if law.extra else None
    away = np.exp(np.array([[0.0], [_TILT], [-_TILT]]))
    here, more, less = (
        np.log(law.predict(theta, points.params / t, points.tokens * t, extra)) for t in away
    )
    tilts = (more - less)[:, None] / (2.0 * _TILT) * np.column_stack([u**0, u, u**2 / 2.0])
    columns = np.hstack([law.evaluate(points, fit.solution.free[None])[1][0], tilts])
    weights, sigma = points.one_sided(here - points.y), max(fit.sigma, LEAST_NOISE)
    r, rest, calm = points.y - here, np.zeros(len(u)), weights
    for _ in range(ROUNDS):
        calm = weights * np.minimum(1.0, fit.delta / np.maximum(np.abs(rest), _TINY))
        covariance = _covariance(columns, calm, sigma)
        lens = calm[:, None] * columns @ covariance / sigma**2
        rest = r - columns @ (lens.T @ r)
    groups, freedom = run.max() + 1, max(len(r) - columns.shape[1], 1)
    left = max(float(rest @ (calm * rest)) / freedom, LEAST_NOISE**2)
    even = covariance[-1, -1] * left / sigma**2
    shared = float((np.bincount(run, lens[:, -1] * rest) ** 2).sum())
    shared *= groups / max(groups - columns.shape[1], 1)
    return float(lens[:, -1] @ r), max(even, shared) * freedom / max(freedom - 2, 1)


def _reducible(rolling: Rolling, weights: Floats) -> float:
    """Return (L - E) / L of the average law at the largest C, the mean of the runs there."""
    points = rolling.fits[0].points
    top = _beyond(points) > -SAME_C
    n, d = points.params[top], points.tokens[top]
    shares = []
    for fit in rolling.fits:
        theta = fit.solution.theta[None]
        loss = fit.law.predict(theta, n, d)
        shares.append(float(np.mean(1.0 - fit.law.floor(theta, n) / loss)))
    return float(np.clip(np.asarray(weights) @ np.array(shares), 0.01, 1.0))


def _beyond(points: Points) -> Floats:
    """Return u = log10(C / C_max), shape (n,), for C = 6 N D."""
    log_c = points.x + points.z
    return np.asarray((log_c - log_c.max()) / np.log(10.0))


def _covariance(slopes: Floats, weights: Floats, sigma: float) -> Floats:
    """Return the covariance (P, P) of coordinates seen through ``slopes`` (n, P), a weak prior."""
    information = slopes.T @ (slopes * weights[:, None]) / sigma**2
    return np.asarray(np.linalg.inv(information + np.eye(len(information)) / PRIOR_SD**2))
