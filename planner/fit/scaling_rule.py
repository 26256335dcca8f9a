"""Whether the best learning rate follows the batch: linearly, by its root, or as own cells say.

    ln lr*(B) = a_h + m ln B     at each size and horizon h,     weights 1 / (s_c^2 + scatter^2)

The linear rule (m = 1, Goyal et al. 2017 for SGD) and the square-root rule (m = 1/2, for Adam) are
assumptions about a range of batches; the interval of m says which of them own runs allow. Beyond
B_s, where the saturating form bends, lr* stays behind either.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri

from planner.estimate import LEVEL
from planner.finding import Finding, Severity
from planner.fit.cells import Cell
from planner.fit.lr_law import fit_lr_law
from planner.fit.priors import Priors

RULES = (("linear", 1.0), ("square-root", 0.5))
SAME_HORIZON = 0.05
"""Difference of ln tokens within which horizons are the same: 16,000 are 15,872 in steps of 256."""
TOLD = 0.7
"""Share of the believed sd of ln B_s below which own cells count as having located it."""


def batch_exponent(cells: Sequence[Cell], scatter: float) -> tuple[float, float, float] | None:
    """Return m and its interval; None unless a size and horizon has interior cells at 3 batches."""
    inside = [c for c in cells if c.basin.interior]
    place = [next(i for i, other in enumerate(inside) if _together(c, other)) for c in inside]
    batches = [len({o.batch_tokens for o in inside if _together(c, o)}) for c in inside]
    if max(batches, default=0) < 3:
        return None
    kept = [c for c, count in zip(inside, batches, strict=True) if count > 1]
    at = np.array([p for p, count in zip(place, batches, strict=True) if count > 1])
    weight = 1 / np.hypot([c.basin.sd for c in kept], scatter)
    levels = np.eye(len(inside))[:, np.unique(at)][at]
    design = np.column_stack([levels, np.log([c.batch_tokens for c in kept])])
    left, free = design * weight[:, None], len(kept) - design.shape[1]
    y = np.array([c.basin.x for c in kept]) * weight
    theta, *_ = np.linalg.lstsq(left, y, rcond=None)
    spread = max(1.0, float(((y - left @ theta) ** 2).sum()) / max(free, 1))
    sd = float(np.sqrt(spread * np.linalg.inv(left.T @ left)[-1, -1]))
    half = float(ndtri((1 + LEVEL) / 2)) * sd
    return float(theta[-1]), float(theta[-1]) - half, float(theta[-1]) + half


def _together(a: Cell, b: Cell) -> bool:
    """Say whether two cells are of one size and horizon, whole steps of their batches apart."""
    return a.params == b.params and abs(np.log(a.tokens / b.tokens)) < SAME_HORIZON


def batch_rule(cells: Sequence[Cell], prior: Priors) -> tuple[Finding, ...]:
    """Return the finding that holds the linear and the square-root rule against own cells."""
    found = batch_exponent(cells, prior.lr_scatter)
    if found is None:
        what = (
            "Whether the learning rate follows the batch linearly, by its root or not at all was "
            "not measured: no size and horizon has basins inside their grids at three batches."
        )
        remedy = "sweep the learning rate at three batches, x4 apart"
        return (Finding("batch-rule", Severity.INFO, what, remedy),)
    m, low, high = found
    verdicts = " and ".join(
        f"the {name} rule (p = {p:g}) is {'inside' if low <= p <= high else 'outside'}"
        for name, p in RULES
    )
    batches = sorted({c.batch_tokens for c in cells})
    what = (
        f"Between batches {batches[0]:.0f} and {batches[-1]:.0f} the best learning rate goes as "
        f"B^p with p = {m:.2f} [{low:.2f}, {high:.2f}] (90 %, {len(cells)} cells): {verdicts}. "
        f"{_saturation(cells, prior)}"
    )
    return (Finding("batch-rule", Severity.INFO, what),)


def _saturation(cells: Sequence[Cell], prior: Priors) -> str:
    """Say from which batch on the learning rate stays behind, if the cells located it."""
    law = fit_lr_law(cells, prior)
    at = law.form.parameters.index("noise_batch")
    middle, sd = float(law.mean[at]), float(np.sqrt(law.covariance[at, at]))
    if sd > TOLD * prior.noise_batch.sd:
        return "Where it saturates these batches do not tell."
    low, high = np.exp(middle - 1.645 * sd), np.exp(middle + 1.645 * sd)
    return (
        f"It stays behind the linear rule from a batch of about {np.exp(middle):.0f} "
        f"[{low:.0f}, {high:.0f}] on, where half of the saturated rate is reached."
    )
