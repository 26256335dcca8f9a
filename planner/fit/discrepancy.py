"""How wrong a law may be beyond the data, learned from where it was wrong inside them.

Beyond the largest compute fitted the mean loss and N* of the right law are taken to depart from the
average of the laws by

    ln L  +=  l r d g          d = log10(C / C_max) >= 0,    r = (L - E) / L at C_max
    ln N* +=  m d h            g, h ~ Student's t, f degrees of freedom, one of each per draw

By default l = .04 and m = .15 (contracts.md section 1). Every rolling origin is one observation of
the same two slopes: b, the slope of the average's error over the decades beyond the origin, and n,
the drift per decade of its N* against the N* that all the data say. What noise and the spread
between the laws explain is taken off, and the rest updates a scaled inverse chi-square

    (l r)^2 = (f0 (.04 r)^2 + sum_o max(b_o^2 - var b_o, 0)) / (f0 + J),     f = f0 + J

in which the default weighs as much as f0 = 4 origins (m likewise from n). Origins can raise the two
and not lower them: that a law held inside the data says little of a bend that shows beyond. The
slope acts on ln L, not on ln(L - E): a law that is wrong has the wrong E as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.arrays import Floats
from planner.fit.law_fit import LawFit
from planner.fit.laws import Law
from planner.fit.points import Points
from planner.fit.select import Origin, Rolling, Trial
from planner.fit.solution import Solution

FREEDOM = 4.0
"""Origins that the default is worth."""
LEAST_NOISE = 1e-4
SAME_C = 1e-6
"""Runs within this of ln C are at one C: rounding must not pick one of them."""
PRIOR_SD = 1.0
"""Of every coordinate (logs of amplitudes, exponents): keeps what is not identified finite."""
WIDEST = 3.0
"""Most sd of ln N* that is believed of a linearised law."""
_STEP = 1e-2


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """The slopes l and m of the module, r and f, and by how much a failed rung widened intervals.

    ``loss_per_decade`` is a share of L - E at C_max, ``ln_n_per_decade`` of ln N*; both are sd.
    """

    loss_per_decade: float = 0.04
    ln_n_per_decade: float = 0.15
    reducible: float = 0.25
    freedom: float = FREEDOM
    factor: float = 1.0

    def log_loss(self, decades: Floats, t: Floats) -> Floats:
        """Return the shifts of ln L, shape (S, n), for decades (n,) and t draws (S, 1)."""
        return self.loss_per_decade * self.reducible * decades * t

    def log_params(self, decades: Floats, t: Floats) -> Floats:
        """Return the shifts of ln N*, shape (S, n)."""
        return self.ln_n_per_decade * decades * t


@dataclass(frozen=True)
class _Misses:
    """What one origin showed of each law: slope b of ln L, drift n of ln N*, and variances."""

    slope: Floats
    slope_variance: Floats
    drift: Floats
    drift_variance: Floats
    noise: float


def learned(rolling: Rolling, weights: Floats) -> Discrepancy:
    """Return the discrepancy of the laws averaged with ``weights`` (laws,)."""
    default = Discrepancy(reducible=_reducible(rolling, weights))
    slopes, drifts = [], []
    for o in range(len(rolling.origins)):
        kept = [k for k, w in enumerate(weights) if w > 0 and rolling.trials[k][o] is not None]
        if not kept:
            continue
        share = np.asarray(weights)[kept] / np.asarray(weights)[kept].sum()
        misses = _misses(rolling, o, kept)
        slope = _unexplained(misses.slope, misses.slope_variance, share) - misses.noise
        slopes.append(slope / default.reducible**2)
        drifts.append(_unexplained(misses.drift, misses.drift_variance, share))
    return Discrepancy(
        _updated(default.loss_per_decade, slopes),
        _updated(default.ln_n_per_decade, drifts),
        default.reducible,
        FREEDOM + len(slopes),
    )


def _updated(default: float, seen: list[float]) -> float:
    """Return the sd after the squares ``seen``, one an origin; not below its default."""
    squares = FREEDOM * default**2 + float(np.maximum(seen, 0.0).sum())
    return max(default, float(np.sqrt(squares / (FREEDOM + len(seen)))))


def _unexplained(values: Floats, variances: Floats, share: Floats) -> float:
    """Return the square of the average's miss, less what the laws' own spread explains."""
    mean = float(share @ values)
    between = float(share @ (values - mean) ** 2)
    return mean**2 - between - float(share @ variances)


def _reducible(rolling: Rolling, weights: Floats) -> float:
    """Return (L - E) / L of the average law at the largest C, the mean of the runs there."""
    points = rolling.fits[0].points
    log_c = points.x + points.z
    top = log_c > log_c.max() - SAME_C
    n, d = points.params[top], points.tokens[top]
    shares = []
    for fit in rolling.fits:
        theta = fit.solution.theta[None]
        loss = fit.law.predict(theta, n, d)
        shares.append(float(np.mean(1.0 - fit.law.floor(theta, n) / loss)))
    return float(np.clip(np.asarray(weights) @ np.array(shares), 0.01, 1.0))


def _misses(rolling: Rolling, o: int, kept: list[int]) -> _Misses:
    origin = rolling.origins[o]
    leverage = origin.votes * origin.decades
    leverage = leverage / (leverage @ origin.decades)
    rows = [_of_law(rolling.fits[k], rolling.trials[k][o], origin, leverage) for k in kept]
    slope, slope_variance, drift, drift_variance = np.array(rows).T
    noise = rolling.noise**2 * float(leverage @ leverage)
    return _Misses(slope, slope_variance, drift, drift_variance, noise)


def _of_law(
    fit: LawFit, trial: Trial | None, origin: Origin, leverage: Floats
) -> tuple[float, float, float, float]:
    """Return b, its variance, n and its variance of one law at one origin."""
    assert trial is not None
    middle = float(origin.votes @ origin.decades)
    flops = origin.reach * 10.0**middle
    above = (origin.after, leverage)
    here = _linear(fit, trial.before, trial.solution, above, flops)
    everywhere = _linear(fit, fit.points, fit.solution, above, flops)
    drift = (here.log_params - everywhere.log_params) / middle
    spread = (here.params_variance + everywhere.params_variance) / middle**2
    if not np.isfinite(drift):
        drift, spread = 0.0, WIDEST**2
    return float(leverage @ trial.errors), here.slope_variance, drift, spread


@dataclass(frozen=True)
class _Linear:
    """A law linearised at a solution: variance of the slope, ln N* and its variance."""

    slope_variance: float
    log_params: float
    params_variance: float


def _linear(
    fit: LawFit,
    points: Points,
    solution: Solution,
    above: tuple[np.ndarray, Floats],
    flops: float,
) -> _Linear:
    after, leverage = above
    covariance = _covariance(points, fit.law, solution, max(fit.sigma, LEAST_NOISE))
    low, high = fit.law.box(points)
    p = len(solution.free)
    steps = np.concatenate([np.zeros((1, p)), _STEP * np.eye(p), -_STEP * np.eye(p)])
    free = np.clip(solution.free + steps, low, high)
    theta = fit.law.theta_of(points, free)
    width = np.maximum(np.diagonal(free[1 : p + 1] - free[p + 1 :]), 1e-12)
    data = fit.points
    extra = data.extra[after] if fit.law.extra else None
    with np.errstate(over="ignore", invalid="ignore"):
        log_loss = np.log(fit.law.predict(theta, data.params[after], data.tokens[after], extra))
        log_params = np.log(fit.law.optimal_params(theta, flops))
    by_loss = (log_loss[1 : p + 1] - log_loss[p + 1 :]) @ leverage / width
    by_params = (log_params[1 : p + 1] - log_params[p + 1 :]) / width
    return _Linear(
        float(by_loss @ covariance @ by_loss),
        float(log_params[0]),
        min(float(by_params @ covariance @ by_params), WIDEST**2),
    )


def _covariance(points: Points, law: Law, solution: Solution, sigma: float) -> Floats:
    """Return the covariance (P, P) of phi at a solution, with a weak prior."""
    slopes = law.evaluate(points, solution.free[None])[1][0]
    information = slopes.T @ (slopes * points.weights[:, None]) / sigma**2
    return np.linalg.inv(information + np.eye(len(information)) / PRIOR_SD**2)
