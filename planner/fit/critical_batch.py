"""The batch beyond which more of it stops saving steps, from the steps that reach one loss.

    S(B) = S_min (1 + B_crit / B)                       steps; tokens S B = E_min (1 + B / B_crit)
    S(B*) B* = (1 + w) S(B0) B0   =>   B* = w B_crit + (1 + w) B0
    ln B*(N, D) = c + m ln(N/N0) + r ln(D/D0)

A critical batch is a convention: an overhead w of tokens over a reference batch B0. w = 1 at B0 = 0
is the hyperbola's own B_crit; Zhang 2024 takes w = .2 at 256 sequences of 512. One curve is fitted
by least squares in ln S, its interval from the exact posterior of ln B_crit (S_min and the noise
integrated out). The law takes all curves at once, each with its own S_min, by soft L1 in ln S:

    ln S_ij = a_i + ln(1 + B_crit(N_i, D_i) / B_ij),     beliefs on (c, m, r),     Laplace intervals
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import least_squares, minimize_scalar
from scipy.special import ndtri

from planner.arrays import Floats
from planner.estimate import LEVEL, Estimate
from planner.fit.priors import Normal

NOISE, NOISE_DF = 0.05, 2.0
"""sd of ln S before the data speak, and the residuals it is worth: a target loss is read off
evaluations a few per cent of the run apart."""

REACH, GRID = 6.0, 601
"""How far beyond the tried batches ln B_crit may lie, and the points of its grid."""

SCATTER = 0.05
"""sd of ln B* of one size round the law beyond its own interval."""

POWER_LINES_CRITICAL = (0.0471 * 2048, 0.462)
"""B_crit = .0471 D^.462 sequences of 2048 (Bergsma 2025), tokens; independent of N."""

LEVEL_SD = 2.0
"""sd of ln B* of that level: definitions and data differ by factors."""

BY_SIZE, BY_TOKENS = Normal(0.0, 0.1), Normal(0.462, 0.1)
"""m and r: published critical batches follow the horizon, not the size (Bergsma 2025, Merrill
2025); the exponent in D is Power Lines', others found .38-.57."""


@dataclass(frozen=True)
class StepsToLoss:
    """Steps (n,) that reach one loss at batches (n,) of tokens, each at its best learning rate."""

    params: float
    tokens: float
    """The horizon of the curve, the same convention for all curves of a law."""
    batch_tokens: Floats
    steps: Floats

    def __post_init__(self) -> None:
        batch, steps = self.batch_tokens, self.steps
        if np.unique(batch).size < 3 or len(batch) != len(steps):
            raise ValueError("a critical batch needs the steps at three different batches or more")
        if not (np.isfinite(batch) & np.isfinite(steps) & (batch > 0) & (steps > 0)).all():
            raise ValueError("batches and steps must be positive numbers; leave out failed runs")


@dataclass(frozen=True, slots=True)
class Definition:
    """What is called critical: ``overhead`` of tokens over a reference batch."""

    overhead: float
    reference_batch_tokens: float

    def of(self, b_crit: Floats) -> Floats:
        """Return B* for the hyperbola's B_crit."""
        return self.overhead * b_crit + (1 + self.overhead) * self.reference_batch_tokens

    def hyperbola(self, critical: Floats) -> Floats:
        """Return B_crit for B*; a hundredth of B* where B* lies below what B0 allows."""
        own = critical - (1 + self.overhead) * self.reference_batch_tokens
        return np.asarray(np.maximum(own, 0.01 * critical) / self.overhead, dtype=np.float64)


HYPERBOLA = Definition(1.0, 0.0)
ZHANG = Definition(0.2, 256 * 512.0)
"""20 % more steps than in proportion, from 256 sequences of 512 on (Zhang 2024)."""


@dataclass(frozen=True)
class Hyperbola:
    """One fitted curve."""

    steps_min: float
    b_crit: float
    """Least squares in ln S."""
    log_b_crit: Floats
    probability: Floats
    """Posterior of ln B_crit on an even grid (GRID,)."""

    @property
    def bounded(self) -> tuple[bool, bool]:
        """Say whether the data bound B_crit from below and above: under 1 % at that end."""
        end = GRID // 20
        at_ends = self.probability[:end].sum(), self.probability[-end:].sum()
        return bool(at_ends[0] < 0.01), bool(at_ends[1] < 0.01)

    def draws(self, definition: Definition, count: int, seed: int = 0) -> Floats:
        """Return draws (count,) of the critical batch in tokens."""
        u = np.random.default_rng(seed).random(count)
        return definition.of(np.exp(np.interp(u, np.cumsum(self.probability), self.log_b_crit)))

    def critical(self, definition: Definition, *, level: float = LEVEL) -> Estimate:
        """Return the critical batch in tokens; an end nothing bounds is only the grid's."""
        ends = np.array([(1 - level) / 2, (1 + level) / 2])
        found = np.exp(np.interp(ends, np.cumsum(self.probability), self.log_b_crit))
        low, high = definition.of(found)
        value = float(definition.of(np.array(self.b_crit)))
        method = "least squares in ln steps; posterior of ln B_crit, S_min and noise integrated out"
        return Estimate(value, min(float(low), value), max(float(high), value), level, method)


def fit_hyperbola(curve: StepsToLoss) -> Hyperbola:
    """Fit S = S_min (1 + B_crit/B) in ln S."""
    batch, log_steps = curve.batch_tokens, np.log(curve.steps)

    def off(x: Floats) -> Floats:
        gap = log_steps - np.log1p(np.exp(x)[..., None] / batch)
        return np.asarray(gap - gap.mean(-1, keepdims=True), dtype=np.float64)

    x = np.linspace(np.log(batch.min()) - REACH, np.log(batch.max()) + REACH, GRID)
    squares = (off(x) ** 2).sum(-1)
    near = x[np.clip(squares.argmin() + np.array([-1, 1]), 0, GRID - 1)]
    best = minimize_scalar(lambda v: float((off(np.array(v)) ** 2).sum()), bounds=near).x
    df = len(batch) - 2 + NOISE_DF
    weight = (NOISE_DF * NOISE**2 + squares) ** (-(df + 1) / 2)
    level = np.mean(log_steps - np.log1p(np.exp(best) / batch))
    b_crit = float(np.exp(best))
    return Hyperbola(float(np.exp(level)), b_crit, x, weight / weight.sum())


@dataclass(frozen=True)
class CriticalBatchLaw:
    """Normal posterior of (c, m, r) of ln B* at an anchor (N0, D0)."""

    definition: Definition
    anchor: tuple[float, float]
    mean: Floats
    covariance: Floats

    def at(self, params: float, tokens: float, *, level: float = LEVEL) -> Estimate:
        """Return the critical batch in tokens at a size and horizon: median and interval."""
        where = np.array([1.0, np.log(params / self.anchor[0]), np.log(tokens / self.anchor[1])])
        sd = float(np.hypot(np.sqrt(where @ self.covariance @ where), SCATTER))
        reach = float(ndtri((1 + level) / 2)) * sd
        value = float(where @ self.mean)
        low, middle, high = np.exp([value - reach, value, value + reach])
        method = "hyperbolas of all sizes at once, soft L1 in ln steps, Laplace; + scatter"
        return Estimate(float(middle), float(low), float(high), level, method)


def fit_critical_batch(
    curves: Sequence[StepsToLoss], definition: Definition = HYPERBOLA
) -> CriticalBatchLaw:
    """Fit the law of the critical batch to one curve or more; one leaves the slopes to beliefs."""
    if not curves:
        raise ValueError("a law of the critical batch needs one curve of steps to a loss or more")
    size, tokens = (np.log([getattr(c, name) for c in curves]) for name in ("params", "tokens"))
    anchor = (float(np.exp(size.mean())), float(np.exp(tokens.mean())))
    where = np.column_stack([np.ones(len(curves)), size - size.mean(), tokens - tokens.mean()])
    owner = np.repeat(np.arange(len(curves)), [len(curve.steps) for curve in curves])
    batch = np.concatenate([curve.batch_tokens for curve in curves])
    log_steps = np.log(np.concatenate([curve.steps for curve in curves]))
    centre, sd = _beliefs(definition, anchor[1])

    def residuals(theta: Floats) -> Floats:
        b_crit = definition.hyperbola(np.exp(where @ theta[:3]))[owner]
        missed = (theta[3:][owner] + np.log1p(b_crit / batch) - log_steps) / NOISE
        return np.concatenate([missed, (theta[:3] - centre) / sd])

    first = [fit_hyperbola(curve) for curve in curves]
    level = np.mean([np.log(definition.of(np.array(found.b_crit))) for found in first])
    start = [level, *centre[1:], *(np.log(found.steps_min) for found in first)]
    found = least_squares(residuals, start, loss=_soft_l1(len(batch)))
    freedom = len(batch) - len(curves) - 1
    lost = _soft_l1(len(batch))(residuals(found.x) ** 2)[0, : len(batch)].sum()
    slope = np.asarray(found.jac, dtype=np.float64)  # rows weighted by the loss
    covariance = np.linalg.inv(slope.T @ slope)[:3, :3] * max(1.0, lost / freedom)
    return CriticalBatchLaw(definition, anchor, found.x[:3], np.asarray(covariance))


def _beliefs(definition: Definition, tokens: float) -> tuple[Floats, Floats]:
    """Return centres and sds of (c, m, r) at an anchor's tokens."""
    scale, exponent = POWER_LINES_CRITICAL
    level = float(np.log(definition.of(np.array(scale * tokens**exponent))))
    centre = np.array([level, BY_SIZE.mean, BY_TOKENS.mean])
    return centre, np.array([LEVEL_SD, BY_SIZE.sd, BY_TOKENS.sd])


def _soft_l1(runs: int) -> Callable[..., Any]:
    """Return rho of squared residuals with its derivatives: soft L1 for runs, squares for beliefs.

    A step count misread by a factor counts by its size, not by its square.
    """

    def rho(squares: Floats) -> Floats:
        run = np.arange(len(squares)) < runs
        root = np.sqrt(1 + squares)
        value = np.where(run, 2 * (root - 1), squares)
        return np.stack([value, np.where(run, 1 / root, 1.0), np.where(run, -0.5 / root**3, 0.0)])

    return rho
