"""The solver of E + A N^-alpha + B D^-beta, compiled: one problem after another, no temporaries.

    minimise  sum_i w_i s_i huber_delta(r_i),   r_i = ln L(N_i, D_i) - ln L_i,  s_i: see points.py

In phi = (ln E, ln a, ln b, alpha, beta), a and b being the terms at the centre of the data, the law
is a log-sum-exp with linear arguments u_k: with the shares p_k that its terms have of the loss

    j = d ln L / d phi = sum_k p_k du_k,     d2 ln L / d phi2 = sum_k p_k du_k du_k' - j j'

so a Newton step is exact. What makes it arrive from all but anywhere in the box:

- damping by the IRLS metric M = sum_i w_i min(1, delta / |r_i|) j j' (with delta far below the
  residuals the loss is nearly L1), and where Hessian + damping M is not positive definite, M alone;
- steps taken straight in (E, a, b, a alpha, b beta), the law's terms and slopes at the centre, in
  which the valley between a floor and a shallow power is straight; in phi it is a hyperbola.

The tied law (four coordinates) adds the rows and columns of its two exponents.

Imported when the first law is solved, compiled once for a machine (about ten seconds) and kept
beside this file. Rows without weight are dropped, the others padded to whole vectors.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from planner.arrays import Floats
from planner.fit._exp_log import ANY_ORDER, AS_WRITTEN, compiled, exp, log

MAX_ITERATIONS = 200
SETTLED, TINY = 1e-13, 1e-28
"""A solve ends when a Newton step promises less than this share of the objective, or this."""
FIRST, EASIER, HARDER, LEAST, MOST = 0.3, 0.1, 4.0, 1e-6, 1e12
"""Damping: at the start, factors after a step that did and did not help, limits."""
RIDGE = (1e-12, 1e-8)
"""Added to the curvature's diagonal, as a share of it: always, and per unit of damping over 1."""
SHRINK = 0.1
"""No term or slope becomes less than this share of itself in one step."""
SAME = 1e-12
"""Ends whose objectives differ by less than this share are one."""
LANES = 16
"""Rows are padded to a multiple: whole vectors, no remainder."""
INVERSE, WEIGHT = 2, 3


class Rules(NamedTuple):
    """Huber's delta (finite) and the box of phi: (5,), or (4,) where the exponents are tied."""

    delta: float
    low: Floats
    high: Floats


class Work(NamedTuple):
    """One problem and room to solve it.

    ``rows`` (5, m): x, z, 1/L, weight, slack; two expansions ``columns`` (2, 9, m).
    """

    rows: Floats
    columns: Floats
    gradient: Floats
    curvature: Floats
    factor: Floats
    step: Floats
    held: npt.NDArray[np.bool_]


@compiled(AS_WRITTEN)
def _five(rows: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    return rows[0], rows[1], rows[2], rows[3], rows[4]


@compiled(ANY_ORDER)
def _expand(work: Work, used: int, rules: Rules, phi: Floats, out: Floats) -> float:
    """Return the objective; fill ``out`` (9, m): j (five), slope, inside and IRLS weights."""
    x, z, inverse, weights, slack = _five(work.rows)
    floor, a, b = math.exp(phi[0]), math.exp(phi[1]), math.exp(phi[2])
    alpha, beta, delta = phi[3], phi[-1], rules.delta
    j0, j1, j2, j3, j4 = _five(out)
    slope, inside, irls = out[5], out[6], out[7]
    value = 0.0
    for i in range(used):
        size, data = a * exp(-alpha * x[i]), b * exp(-beta * z[i])
        total = floor + size + data
        r = log(total * inverse[i])
        weight = weights[i] * (slack[i] if r < 0.0 else 1.0)
        clipped = min(max(r, -delta), delta)
        j0[i] = floor / total
        j1[i] = size / total
        j2[i] = data / total
        j3[i] = -x[i] * j1[i]
        j4[i] = -z[i] * j2[i]
        slope[i] = weight * clipped
        inside[i] = weight if abs(r) <= delta else 0.0
        irls[i] = weight * (delta / max(abs(r), delta))
        value += weight * clipped * (r - 0.5 * clipped)
    return value


@compiled(ANY_ORDER)
def _assemble(work: Work, used: int, columns: Floats, damping: float) -> None:
    """Fill gradient (5,) and the lower half of the curvature (5, 5).

    Below a damping of one the curvature is Hessian + damping M, from there on damping M.
    """
    gradient, curvature = work.gradient, work.curvature
    slope, blend = columns[5], columns[8]
    newton = 1.0 if damping < 1.0 else 0.0
    for i in range(used):
        blend[i] = newton * (columns[6, i] - slope[i]) + damping * columns[7, i]
    for k in range(5):
        left, total = columns[k], 0.0
        for i in range(used):
            total += slope[i] * left[i]
        gradient[k] = total
        for m in range(k + 1):
            right, total = columns[m], 0.0
            for i in range(used):
                total += blend[i] * left[i] * right[i]
            curvature[k, m] = total
    own_x = own_z = 0.0
    for i in range(used):
        own_x -= slope[i] * columns[3, i] * work.rows[0, i]
        own_z -= slope[i] * columns[4, i] * work.rows[1, i]
    for k in range(3):
        curvature[k, k] += newton * gradient[k]
    curvature[3, 1] += newton * gradient[3]
    curvature[4, 2] += newton * gradient[4]
    curvature[3, 3] += newton * own_x
    curvature[4, 4] += newton * own_z


@compiled(AS_WRITTEN)
def _tie(gradient: Floats, curvature: Floats) -> None:
    """Add the row and column of beta to those of alpha."""
    gradient[3] += gradient[4]
    curvature[3, 3] += 2.0 * curvature[4, 3] + curvature[4, 4]
    for k in range(3):
        curvature[3, k] += curvature[4, k]


@compiled(AS_WRITTEN)
def _factorise(work: Work, size: int, ridge: float) -> bool:
    """Fill the Cholesky factor of curvature + ridge diag; False unless positive definite.

    Rows and columns of coordinates that are held are those of the unit matrix.
    """
    factor = work.factor
    for k in range(size):
        for m in range(k + 1):
            total = work.curvature[k, m] * (1.0 + ridge if k == m else 1.0)
            if work.held[k] or work.held[m]:
                total = 1.0 if k == m else 0.0
            for q in range(m):
                total -= factor[k, q] * factor[m, q]
            if k != m:
                factor[k, m] = total / factor[m, m]
            elif total > 0.0:
                factor[k, k] = math.sqrt(total)
            else:
                return False
    return True


@compiled(AS_WRITTEN)
def _solve(work: Work, size: int) -> float:
    """Put -curvature^-1 gradient into step, 0 where held; return the fall it promises."""
    factor, step = work.factor, work.step
    fall = 0.0
    for k in range(size):
        total = 0.0 if work.held[k] else -work.gradient[k]
        for m in range(k):
            total -= factor[k, m] * step[m]
        step[k] = total / factor[k, k]
        fall += step[k] * step[k]
    for k in range(size - 1, -1, -1):
        total = step[k]
        for m in range(k + 1, size):
            total -= factor[m, k] * step[m]
        step[k] = total / factor[k, k]
    return fall


@compiled(AS_WRITTEN)
def _newton(phi: Floats, rules: Rules, work: Work, ridge: float) -> float:
    """Put the Newton step into ``work.step``; return the fall it promises, or -1.

    Coordinates that press against their bound are held; so is one that the others would push
    through its bound, and the step is found anew.
    """
    low, high, size = phi <= rules.low, phi >= rules.high, len(phi)
    for k in range(size):
        g = work.gradient[k]
        work.held[k] = (low[k] and g > 0.0) or (high[k] and g < 0.0)
    fall, again = -1.0, True
    while again:
        if not _factorise(work, size, ridge):
            return -1.0
        fall, again = _solve(work, size), False
        for k in range(size):
            if (low[k] and work.step[k] < 0.0) or (high[k] and work.step[k] > 0.0):
                work.held[k] = again = True
    return fall


@compiled(AS_WRITTEN)
def _move(phi: Floats, rules: Rules, work: Work, trial: Floats) -> None:
    """Fill ``trial`` with the end of the step, straight in terms and slopes, within the box."""
    step, size = work.step, len(phi)
    for k in range(3):
        trial[k] = phi[k] + math.log(max(1.0 + step[k], SHRINK))
    if size == 5:
        for k in range(1, 3):
            slope = max(1.0 + step[k] + step[k + 2] / phi[k + 2], SHRINK)
            trial[k + 2] = phi[k + 2] * slope * math.exp(phi[k] - trial[k])
    else:
        a, b = math.exp(phi[1]), math.exp(phi[2])
        slope = 1.0 + (a * step[1] + b * step[2]) / (a + b) + step[3] / phi[3]
        both = (a + b) / (math.exp(trial[1]) + math.exp(trial[2]))
        trial[3] = phi[3] * max(slope, SHRINK) * both
    for k in range(size):
        end = phi[k] if work.held[k] else trial[k]
        trial[k] = min(max(end, rules.low[k]), rules.high[k])


@compiled(AS_WRITTEN)
def _descend(work: Work, used: int, rules: Rules, phi: Floats) -> tuple[float, bool]:
    """Move phi to a minimum; return the objective, and whether the end is one of second order."""
    here, there, trial = work.columns[0], work.columns[1], np.empty_like(phi)
    value, damping = _expand(work, used, rules, phi, here), FIRST
    for _ in range(MAX_ITERATIONS):
        _assemble(work, used, here, damping)
        if len(phi) == 4:
            _tie(work.gradient, work.curvature)
        fall = _newton(phi, rules, work, RIDGE[0] + RIDGE[1] * max(damping - 1.0, 0.0))
        if fall < 0.0:
            damping = max(damping * HARDER, 1.0)
        elif fall <= SETTLED * value + TINY and damping <= LEAST:
            _move(phi, rules, work, trial)
            phi[:] = trial
            return value, True
        elif fall <= SETTLED * value + TINY and damping < 0.1:
            damping = LEAST
        else:
            _move(phi, rules, work, trial)
            end = _expand(work, used, rules, trial, there)
            better = end < value
            damping = max(damping * (EASIER if better else HARDER), LEAST)
            if better:
                phi[:] = trial
                value, here, there = end, there, here
        if damping > MOST:
            break
    return value, False


@compiled(AS_WRITTEN)
def _compact(rows: Floats, weights: Floats, out: Floats) -> int:
    """Copy the rows that have weight and pad them to whole vectors; return how many."""
    used = 0
    for i in range(len(weights)):
        if weights[i] > 0.0:
            for k in range(5):
                out[k, used] = weights[i] if k == WEIGHT else rows[k, i]
            used += 1
    while used % LANES:
        for k in range(5):
            out[k, used] = 1.0 if k == INVERSE else 0.0
        used += 1
    return used


@compiled(AS_WRITTEN)
def descend(
    rows: Floats, rules: Rules, weights: Floats, starts: Floats
) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """Return the best end (B, P) over the starts (S, P) for every weighting (B, n) of the rows.

    ``rows`` (5, n): x, z, 1/L, anything, slack. Beside the ends their objectives (B,), and whether
    each is a minimum of second order (B,); of ends that agree one that converged is taken.
    """
    count, size, room = len(weights), starts.shape[1], rows.shape[1] + LANES
    best, value, ended = np.empty((count, size)), np.full(count, np.inf), np.full(count, False)
    phi, vectors, square = np.empty(size), np.empty((2, 5)), np.empty((2, 5, 5))
    table, columns, held = np.empty((5, room)), np.empty((2, 9, room)), np.full(5, False)
    work = Work(table, columns, vectors[0], square[0], square[1], vectors[1], held)
    for w in range(count):
        used = _compact(rows, weights[w], table)
        for s in range(len(starts)):
            phi[:] = starts[s]
            end, done = _descend(work, used, rules, phi)
            agrees = end <= value[w] * (1.0 + SAME)
            if end < value[w] * (1.0 - SAME) or (agrees and done and not ended[w]):
                best[w], value[w], ended[w] = phi, end, done
    return best, value, ended
