"""Which rows lie off the law, judged by the rows that do not.

A few gross rows on one side at the top of C pull the law along and hide each other, so judgement
starts from the law with the least trimmed squares (Rousseeuw & Van Driessen 2006): from many small
random subsets, the three quarters of the rows nearest to each fit are fitted again, and the
tightest fit wins. Then suspects lie beyond three robust sd, and each is predicted from the others.

Trimming makes the rest look quieter than it is, the more so the fewer rows there are, and noise may
have heavy tails; nothing tells those from outliers in one table of 20 to 60 runs, so the limit on t
allows for both.
"""

from __future__ import annotations

import numpy as np
from scipy.special import stdtrit

from planner.arrays import Flags, Floats
from planner.fit.check.budget import SHARES
from planner.fit.check.linear import Linear

SUSPECT = 3.0
"""Rows beyond this many robust sd are set aside while the others are judged."""
LIMIT = {2.4: 35.0, 2.8: 16.0, 3.2: 13.0, 4.0: 8.5, 4.8: 7.5, 6.0: 7.0}
"""Rows per parameter : t that the worst row exceeds in at most 1 of 250 tables with normal noise
and about 1 of 50 with t5 noise. Simulated with five parameters (three to nine agree within 1 %) on
subsets of sound tables of other seeds than bench_faults'; there planted outliers of 4 % and more
nearly always lie beyond 7.5."""
TRIALS, STEPS, MOST = 50, 3, 200
"""With a fifth of the rows bad, 50 subsets of six all hold a bad one once in 4 million tables."""


def outliers(linear: Linear) -> tuple[Flags, Floats]:
    """Return which rows are outliers (n,), and every row's t against the law without suspects."""
    n, p = linear.slopes.shape
    r = linear.r - linear.slopes @ _trimmed(linear)
    for _ in range(4):
        scale = 1.4826 * float(np.median(np.sort(np.abs(r))[min(5, n - 1) :]))
        calm = np.abs(r) <= SUSPECT * max(scale, 1e-12)
        r = linear.r - linear.slopes @ _coefficients(linear.slopes[calm], linear.r[calm])
    freedom = max(int(calm.sum()) - p, 1)
    variance = float((r[calm] ** 2).sum()) / freedom
    inverse = np.linalg.pinv(linear.slopes[calm].T @ linear.slopes[calm])
    reach = np.einsum("ij,jk,ik->i", linear.slopes, inverse, linear.slopes)
    t = r / np.sqrt(max(variance, 1e-24) * np.where(calm, np.maximum(1.0 - reach, 0.05), 1 + reach))
    trimmed = np.interp(n / p, np.array(list(LIMIT)), np.array(list(LIMIT.values())))
    limit = max(trimmed, -float(stdtrit(freedom, SHARES["outliers"] / (2 * n))))
    return np.asarray(np.abs(t) > limit) & ~calm, t


def _trimmed(linear: Linear) -> Floats:
    """Return the coefficients (P,) whose nearest three quarters of at most 200 rows fit best."""
    rng = np.random.default_rng(0)
    some = rng.permutation(len(linear.r))[:MOST]
    slopes, r = linear.slopes[some], linear.r[some]
    n, p = slopes.shape
    rows = np.argsort(rng.random((TRIALS, n)), axis=1)[:, : p + 1]
    for _ in range(STEPS + 1):
        found = _coefficients(slopes[rows], r[rows])
        squares = (r - found @ slopes.T) ** 2
        rows = np.argsort(squares, axis=1)[:, : max(n - n // 4, (n + p + 1) // 2)]
    left = np.take_along_axis(squares, rows, axis=1).sum(axis=1)
    return np.asarray(found[np.argmin(left)])


def _coefficients(slopes: Floats, r: Floats) -> Floats:
    """Return least squares (..., P) of r (..., n) on slopes (..., n, P)."""
    return np.asarray((np.linalg.pinv(slopes) @ r[..., None])[..., 0])
