"""What the forms share: two power terms, starts by variable projection, the best size at a compute.

Most forms bend the sum of a size term A N^-alpha and a data term B D^-beta. Undo the bend and the
coefficients are linear again: on a grid of exponents (E, a, b) solve a non-negative least-squares
problem, whose every Gram entry is one product of an exponent's column with another's.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from planner.arrays import Floats
from planner.fit.laws import CHINCHILLA, FLOOR, non_negative
from planner.fit.points import Points

GRID = np.geomspace(0.06, 1.1, 12)
"""Exponents at which starts are made; published ones lie within .1 to .8."""


def row(theta: Floats, index: int) -> Floats:
    """Return one parameter of theta (..., P) as (..., 1), to meet points on the last axis."""
    return np.asarray(theta)[..., index, None]


def power(amplitude: Floats, exponent: Floats, at: Floats) -> Floats:
    """Return amplitude * at^-exponent, by logs so that a huge amplitude meets a tiny power."""
    return np.asarray(np.exp(np.log(amplitude) - exponent * np.log(np.asarray(at, float))))


def five_box(points: Points) -> tuple[Floats, Floats]:
    """Return the bounds of (ln E, ln a, ln b, alpha, beta): a plain sum's, E below every loss.

    What bends these forms away from the plain sum could otherwise stand in for a floor too high.
    """
    low, high = CHINCHILLA.box(points)
    high[0] = points.y.min()
    return low, high


def project(x: Floats, z: Floats, loss: Floats, weights: Floats, keep: int) -> Floats:
    """Return starts (S, 5) of (ln E, ln a, ln b, alpha, beta), best relative squares first.

    ``x``, ``z`` are centred ln N and ln D, ``loss`` the losses with any bend undone. Starts are at
    least .3 apart in the log of an exponent.
    """
    alpha, beta = (grid.ravel() for grid in np.meshgrid(GRID, GRID, indexing="ij"))
    gram, target = _moments(x, z, loss, weights)
    coefficients, gain = non_negative(gram, target)
    least = FLOOR * 10 * loss.min()
    phi = np.column_stack([np.log(np.maximum(coefficients, least)), alpha, beta])
    place, kept = np.log(phi[:, 3:]), list[int]()
    for i in np.argsort(-gain, kind="stable"):
        if all(np.abs(place[i] - place[j]).max() > 0.3 for j in kept):
            kept.append(int(i))
        if len(kept) == keep:
            break
    return phi[kept]


def _moments(x: Floats, z: Floats, loss: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Return the Gram matrices (G, 3, 3) and targets (G, 3) of the whole exponent grid."""
    root = np.sqrt(weights)
    one = (root / loss)[None]
    size, data = one * np.exp(-GRID[:, None] * x), one * np.exp(-GRID[:, None] * z)
    k = len(GRID)
    gram, target = np.empty((k, k, 3, 3)), np.empty((k, k, 3))
    gram[..., 0, 0] = (one * one).sum()
    gram[..., 0, 1] = gram[..., 1, 0] = (size @ one[0])[:, None]
    gram[..., 0, 2] = gram[..., 2, 0] = (data @ one[0])[None]
    gram[..., 1, 1] = (size * size).sum(axis=1)[:, None]
    gram[..., 2, 2] = (data * data).sum(axis=1)[None]
    gram[..., 1, 2] = gram[..., 2, 1] = size @ data.T
    target[..., 0] = one[0] @ root
    target[..., 1] = (size @ root)[:, None]
    target[..., 2] = (data @ root)[None]
    return gram.reshape(-1, 3, 3), target.reshape(-1, 3)


def best_size(loss: Callable[[Floats, Floats], Floats], draws: int, flops: float) -> Floats:
    """Return N*(C), shape (draws,), where ``loss`` (draws, m) of N and D = C / 6N is least.

    ``loss`` takes sizes and tokens, each (1, m) or (draws, m). Of several local minima the one
    nearest twenty tokens per parameter is meant: some forms fall again where no run ever was. A
    law without a minimum gives the end of the range searched, 1e-8 to 1e10 tokens per parameter.
    """
    middle = (np.log(flops / 6.0) - np.log(20.0)) / 2
    at = middle + np.linspace(-10.0, 10.0, 61)[None]
    values = _along(loss, at, flops)
    inner = (values[:, 1:-1] <= values[:, :-2]) & (values[:, 1:-1] <= values[:, 2:])
    distance = np.where(inner, np.abs(at[:, 1:-1] - middle), np.inf)
    found = np.isfinite(distance).any(axis=1)
    chosen = np.where(found, distance.argmin(axis=1) + 1, values.argmin(axis=1))
    centre, width = at[0, chosen], at[0, 1] - at[0, 0]
    for _ in range(3):
        near = centre[:, None] + width * np.linspace(-1.0, 1.0, 9)
        values = _along(loss, near, flops)
        centre, width = near[np.arange(draws), values.argmin(axis=1)], width / 4
    left, here, right = (_along(loss, centre[:, None] + s * width, flops)[:, 0] for s in (-1, 0, 1))
    bend = left - 2 * here + right
    shift = np.where(bend > 0, (left - right) / (2 * np.where(bend > 0, bend, 1.0)), 0.0)
    return np.asarray(np.exp(centre + width * np.clip(shift, -1.0, 1.0)))


def _along(loss: Callable[[Floats, Floats], Floats], at: Floats, flops: float) -> Floats:
    size = np.exp(at)
    return loss(size, flops / 6.0 / size)
