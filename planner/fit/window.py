"""How near the bottom a cubic looks: the window that trades its bias against its variance.

A cubic through a whole level is off where the sizes are not centred on the bottom, for a valley has
a fourth derivative: 12 % in N* at 1000 times the compute when off by 3x, 27 % under drift. So runs
count by their nearness to the bottom v0 of the level,

    near = exp(-(v - v0)^2 / 2 h^2),    h = step x the widest gap between neighbouring sizes,

and the step (one for all levels) has the least

    sum over levels of  2 bias^2 + variance        of ln N* at the bottom.

Both are those of a pilot, as in plug-in bandwidths of local polynomials (Ruppert, Sheather & Wand
1995): the bias is the cubic's on the pilot's own losses, the variance follows from the pilot's
scatter (a window is no precision: far runs count less, but are no noisier). The pilot is the valley
of two exponentials; what it says of the runs enters through v0, h and the scatter only. The bias
counts double because the interval does not hold it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from planner.arrays import Floats
from planner.fit import profile
from planner.fit.profile import Profiles

STEPS = (0.7, 1.0, 1.4, 2.0, 2.8, 4.0, np.inf)
"""On a regular grid a normal kernel of .7 gaps still has its moments wherever v0 lies between the
sizes (to 6e-5, by Poisson's sum); .5 and 1 gap had more bias in bench_isoflop's random worlds."""
BIAS = 2.0
"""Of 1, 2, 4 and 9 on 1,300 random sets: with .02 to .6 % noise 1 covers 87 to 92 % and 2 covers 88
to 91 % at as small an error; 4 and 9 cost width."""
LOST = 1.0
"""A level that may be off by an e-fold tells nothing; being off by more is no worse."""


def windowed(profiles: Profiles) -> tuple[Profiles, tuple[float, int]]:
    """Return the profiles seen through the best window, and the pilot's scatter.

    The scatter is its weighted sum of squares and their degrees of freedom.
    """
    pilot = profile.fit(profiles, "valley")
    freedom = max(profiles.n - pilot.a[0].size - 2, 1)
    left = float(pilot.left[0])
    low = profile.drawn_bottoms(profiles, "valley", pilot.a, pilot.shape)[0] - profiles.middle
    gap = np.diff(np.sort(profiles.v, axis=1), axis=1).max(axis=1)
    away = (profiles.v - np.clip(low, *profile.ends(profiles))[:, None]) / gap[:, None]
    exact = replace(profiles, loss=profiles.loss - pilot.r[0])
    tried = [replace(exact, near=np.exp(-0.5 * (away / step) ** 2)) for step in STEPS]
    best = int(np.argmin([_error(each, low, left / freedom) for each in tried]))
    return replace(profiles, near=tried[best].near), (left, freedom)


def _error(exact: Profiles, low: Floats, variance: float) -> float:
    """Return the expected error of the cubic's bottoms on losses whose bottoms are ``low`` (L,)."""
    found = profile.fit(exact, "cubic")
    v = profile.bottom("cubic", found.a, found.shape)[0]
    slope = np.stack([np.zeros_like(v), np.ones_like(v), 2.0 * v, 3.0 * v**2], axis=-1)
    bend = 2.0 * found.a[0, :, 2] + 6.0 * found.a[0, :, 3] * v
    moves = (slope[:, None, :] @ found.response[0])[:, 0] / bend[:, None]
    noise = variance * (moves**2 / exact.precision).sum(axis=1)
    error = BIAS * (v - low) ** 2 + noise
    return float(np.fmin(error, LOST).sum())
