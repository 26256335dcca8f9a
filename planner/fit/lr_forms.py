"""The two forms of the best learning rate that are compared, with their beliefs.

    saturating:  ln lr* = a + p ln(N/N0) + q ln(D/D0) - ln(1 + B_s(D)/B),  ln B_s = s + g ln(D/D0)
    power:       ln lr* = a + p ln(N/N0) + q ln(D/D0) + m ln(B/B0)

The first is linear in B far below B_s, a square root near it, flat above: hence lr* may fall with D
at a small batch and rise at a large one. The second is its tangent at (D0, B0), B0 the believed
best batch, and so are its beliefs; published rules for m run from 0 to 1 (none, root, linear).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from planner.arrays import Floats
from planner.fit.priors import Normal, Priors

EXPONENT_SD = 0.25
"""sd of m: the square-root rule for Adam and the linear one are two sd apart."""


@dataclass(frozen=True, slots=True)
class LrForm:
    """A form of ln lr* in ``where`` (n, 3) = ln of N, D, B over the anchor."""

    name: str
    parameters: tuple[str, ...]
    value: Callable[[Floats, Floats], Floats]
    """theta (k,) or (k, S) and where, to (n,) or, at one place, (S,)."""
    gradient: Callable[[Floats, Floats], Floats]
    """theta (k,) and where, to (n, k)."""
    beliefs: Callable[[Priors], tuple[Normal, ...]]
    log_batch: Callable[[Priors], float]
    """ln B0 of the anchor."""


def _saturating(theta: Floats, where: Floats) -> Floats:
    a, p, q, s, g = theta
    size, tokens, batch = where.T
    saturation = np.logaddexp(0.0, s + g * tokens - batch)
    return np.asarray(a + p * size + q * tokens - saturation, dtype=np.float64)


def _saturating_gradient(theta: Floats, where: Floats) -> Floats:
    size, tokens, batch = where.T
    share = expit(theta[3] + theta[4] * tokens - batch)
    return np.stack([np.ones_like(size), size, tokens, -share, -share * tokens], axis=1)


def _power(theta: Floats, where: Floats) -> Floats:
    a, p, q, m = theta
    size, tokens, batch = where.T
    return np.asarray(a + p * size + q * tokens + m * batch, dtype=np.float64)


def _power_gradient(theta: Floats, where: Floats) -> Floats:
    return np.column_stack([np.ones(len(where)), where])


def _tangent_beliefs(prior: Priors) -> tuple[Normal, ...]:
    """Carry the saturating form's beliefs to its tangent at (D0, B0), to first order."""
    gap = prior.noise_batch.mean - prior.batch.mean
    share = float(expit(gap))
    level = Normal(
        float(prior.level.mean - np.logaddexp(0.0, gap)),
        float(np.hypot(prior.level.sd, share * prior.noise_batch.sd)),
    )
    tokens = Normal(
        prior.token_slope.mean - share * prior.noise_batch_slope.mean,
        float(np.hypot(prior.token_slope.sd, share * prior.noise_batch_slope.sd)),
    )
    return level, prior.size_slope, tokens, Normal(share, EXPONENT_SD)


SATURATING = LrForm(
    "saturating",
    ("level", "size_slope", "token_slope", "noise_batch", "noise_batch_slope"),
    _saturating,
    _saturating_gradient,
    lambda p: (p.level, p.size_slope, p.token_slope, p.noise_batch, p.noise_batch_slope),
    lambda prior: 0.0,
)
POWER = LrForm(
    "power",
    ("level", "size_slope", "token_slope", "batch_exponent"),
    _power,
    _power_gradient,
    _tangent_beliefs,
    lambda prior: prior.batch.mean,
)
FORMS = {form.name: form for form in (SATURATING, POWER)}
