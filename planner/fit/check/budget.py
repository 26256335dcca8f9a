"""How often a sound table may raise a false alarm, and how that chance is shared out.

Every test with a chance of being wrong takes its share of 4 %; a test of k places (each size, each
row) divides its share by k once more. Findings that are facts (a status that says "crashed", a
width with two sizes, a negative FLOP count) need no share, nor does one that follows another
(``huber-sensitive`` needs outliers). The limits of ``uneven-noise`` and ``two-populations`` are
simulated for their shares, that of ``outliers`` is where trimming asks for more.
"""

from __future__ import annotations

SHARES = {
    "outliers": 0.004,
    "rung-high": 0.006,
    "trend-in-params": 0.004,
    "trend-in-tokens": 0.004,
    "trend-in-lr": 0.003,
    "trend-in-batch": 0.002,
    "clustered-rows": 0.004,
    "uneven-noise": 0.004,
    "two-populations": 0.004,
}
"""Chance of each code on a sound table; they add up to 3.5 %."""
