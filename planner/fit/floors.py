"""What runs elsewhere say about the loss at a target: a surface whose floors a law ties together.

    L0[N, D] = E + a (N/N0)^-alpha + b (D/D0)^-beta + error[N, D]
    sd of the error = sqrt(SCATTER^2 + (DRIFT log10(C0/C))^2),   N0, D0, C0 those of the target

In :mod:`planner.fit.surface` a floor is free, so that basins are compared without a law. A design
that aims at a *loss* needs the law; no law is right over decades, so a cell counts the less the
further its compute is from the target's. Linear in the law's unknowns, about published values.
"""

from __future__ import annotations

import numpy as np

from planner.arrays import Floats
from planner.fit.surface import FLOOR_SD, Surface
from planner.fit.unknowns import Unknowns

EXPONENTS = (0.3478, 0.3658)
"""alpha and beta (Besiroglu 2024, refit of Chinchilla)."""
TERMS = (482.01, 2085.43)
"""A and B of the same fit, nats."""
LOG_TERM_SD, EXPONENT_SD, E_SD = 0.5, 0.15, 0.3
"""Beliefs about ln a, ln b at the target, about the exponents, and about E in nats: one domain,
tokenizer and family of shapes to another."""

SCATTER = 0.005
"""sd of a cell's floor round the law in nats: seed noise."""
DRIFT = 0.03
"""sd in nats by which a law is wrong per decade: 4 % of an L - E of .75 nats (science F4.4)."""


def tied(surface: Surface, params: float, tokens: float) -> Floats:
    """Return the covariance (P, P) of theta once the law holds the floors to the target's."""
    k = len(surface.cells)
    n, d = np.log(surface.cells / [params, tokens]).T
    (alpha, beta), (big_a, big_b) = EXPONENTS, TERMS
    of_size = big_a * params**-alpha * np.exp(-alpha * n)
    of_tokens = big_b * tokens**-beta * np.exp(-beta * d)
    slopes = np.stack([np.ones(k), of_size, of_tokens, -n * of_size, -d * of_tokens], axis=1)
    sd = np.array([E_SD, LOG_TERM_SD, LOG_TERM_SD, EXPONENT_SD, EXPONENT_SD])
    away = np.abs(n + d) / np.log(10)
    error = np.diag(SCATTER**2 + (DRIFT * away) ** 2)
    floors = np.ix_(*2 * [Unknowns(k).floor(np.arange(k))])
    precision = np.linalg.inv(surface.covariance)
    precision[floors] += np.linalg.inv((slopes * sd**2) @ slopes.T + error)
    precision[floors] -= np.eye(k) / FLOOR_SD**2
    return np.asarray(np.linalg.inv(precision))
