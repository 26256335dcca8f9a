"""Which form of the learning-rate law: the one that predicts cells it has not seen.

Each form is refitted without one size at a time (from three sizes on; else without one cell at a
time) and predicts the basins left out; in-sample residuals say little about another size. The
saturating form is kept unless the power law wins by more than chance:

    error = sqrt(sum w r^2 / sum w),   w = 1 / (s_c^2 + scatter^2),
    gain  = w r^2 of the one less that of the other, summed over each left-out group; its mean
            above SURE_SE standard errors
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from planner.arrays import Floats
from planner.fit.cells import Cell
from planner.fit.lr_forms import FORMS, POWER, SATURATING, LrForm
from planner.fit.lr_law import LrLaw, fit_lr_law
from planner.fit.priors import Priors

FEWEST_GROUPS = 4
"""Left-out groups below which nothing is compared."""

SURE_SE = 2.0


@dataclass(frozen=True, slots=True)
class LrComparison:
    """Held-out errors of the forms in ln lr*, and the form they speak for."""

    chosen: str
    errors: dict[str, float]
    """Weighted root mean square error per form; empty when there were too few cells to tell."""
    left_out: str
    """What was left out at a time: size, cell, or nothing."""
    cells: int

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as plain data."""
        return asdict(self)


def compare_forms(cells: Sequence[Cell], prior: Priors) -> LrComparison:
    """Return each form's held-out error and the choice; SATURATING where cells are too few."""
    batches = len({cell.batch_tokens for cell in cells})
    by_size = len({cell.params for cell in cells}) >= 3
    labels = [cell.params if by_size else index for index, cell in enumerate(cells)]
    if len(cells) < FEWEST_GROUPS or batches < 3:
        return LrComparison(SATURATING.name, {}, "nothing", len(cells))
    lost = {name: _held_out(cells, labels, prior, form) for name, form in FORMS.items()}
    weight = 1 / (np.array([c.basin.sd for c in cells]) ** 2 + prior.lr_scatter**2)
    errors = {name: float(np.sqrt(weight @ miss**2 / weight.sum())) for name, miss in lost.items()}
    gains = weight * (lost[SATURATING.name] ** 2 - lost[POWER.name] ** 2)
    _, group = np.unique(labels, return_inverse=True)
    gain = np.bincount(group, gains)
    sure = gain.mean() > SURE_SE * gain.std(ddof=1) / np.sqrt(len(gain))
    chosen = POWER if sure else SATURATING
    return LrComparison(chosen.name, errors, "size" if by_size else "cell", len(cells))


def _held_out(
    cells: Sequence[Cell], labels: Sequence[float], prior: Priors, form: LrForm
) -> Floats:
    """Return predicted less located ln lr* (n,) of every cell, by the fit that never saw it."""
    missed = np.empty(len(cells))
    for label in set(labels):
        law = fit_lr_law(
            [c for c, own in zip(cells, labels, strict=True) if own != label], prior, form
        )
        for index, cell in enumerate(cells):
            if labels[index] == label:
                missed[index] = _miss(law, cell)
    return missed


def _miss(law: LrLaw, cell: Cell) -> float:
    return law.predict(cell.params, cell.tokens, cell.batch_tokens)[0] - cell.basin.x
