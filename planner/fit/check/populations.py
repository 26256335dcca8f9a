"""Split rows into two populations that differ by a constant.

Another unit of the loss, another evaluation set or undecayed runs shift some rows by s and leave
the others alone; nobody says which. Labels z (0 or 1) and s are found together,

    minimise over z, s, b    sum_i (y_i - X_i b - s z_i)^2

by alternation from several starts. Noise can be split, too: on n normal rows the best split still
leaves a share of the sum of squares whose lower quantiles were simulated (``NULL``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.arrays import Flags, Floats

NULL = {16: 0.065, 20: 0.09, 30: 0.155, 45: 0.19, 60: 0.22, 120: 0.265}
"""Rows : share left that 1 in 250 normal samples undercut (5 columns; bench_faults repeats it)."""
QUANTILES = np.linspace(0.1, 0.9, 9)
ROUNDS = 10
LEAST_SHARE = 2
"""A population has at least this many rows; one row alone is an outlier."""


@dataclass(frozen=True)
class Split:
    """Rows in the higher population (n,), their shift in y, and the share of squares left."""

    high: Flags
    shift: float
    left: float

    @property
    def real(self) -> bool:
        """Say whether noise alone would hardly ever split so cleanly."""
        rows = np.array(list(NULL))
        limit = np.interp(len(self.high), rows, np.array(list(NULL.values())))
        return bool(self.left < limit)


def split(columns: Floats, y: Floats) -> Split:
    """Split rows (n,) into two populations about a linear surface of ``columns`` (n, P)."""
    basis = np.linalg.qr(columns)[0]
    r = y - basis @ (basis.T @ y)
    whole = float(r @ r)
    best = Split(np.zeros(len(y), dtype=np.bool_), 0.0, 1.0)
    for start in _starts(columns, y, r):
        found = _alternate(basis, y, start, whole)
        best = found if found.left < best.left else best
    return best


def _starts(columns: Floats, y: Floats, r: Floats) -> list[Flags]:
    axes = (r, y, columns[:, -1], columns[:, 1])
    return [np.asarray(axis > np.quantile(axis, q)) for axis in axes for q in QUANTILES]


def _alternate(basis: Floats, y: Floats, high: Flags, whole: float) -> Split:
    shift, left = 0.0, 1.0
    for _ in range(ROUNDS):
        if min(high.sum(), (~high).sum()) < LEAST_SHARE:
            return Split(high, 0.0, 1.0)
        z = high.astype(float)
        zr, yr = z - basis @ (basis.T @ z), y - basis @ (basis.T @ y)
        if zr @ zr < 1e-6 * (z @ z):
            return Split(high, 0.0, 1.0)
        shift = float(zr @ yr / (zr @ zr))
        left = float(max(yr @ yr - shift**2 * (zr @ zr), 0.0) / max(whole, 1e-300))
        rest = y - basis @ (basis.T @ (y - shift * z))
        new = np.asarray(rest > shift / 2.0) if shift > 0 else np.asarray(rest < shift / 2.0)
        if (new == high).all():
            break
        high = new
    return Split(high, shift, left) if shift > 0 else Split(~high, -shift, left)
