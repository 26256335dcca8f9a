"""Where the unknowns of the joint surface stand in theta (:mod:`planner.fit.surface`).

theta = a p q s g c r | ln k below, above, ln h below, above | m t | floors | scatters
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

SHARED = 13
"""How many belong to all cells."""

CURVATURE, DEPTH = slice(7, 11), slice(11, 13)
"""The logs of the curvatures, and the exponents m and t of how deep basins are."""


class Unknowns(NamedTuple):
    """Where the entries of theta stand: SHARED, then floors (K,), scatter of lr* and of B* (K,)."""

    cells: int

    @property
    def size(self) -> int:
        """Length of theta."""
        return SHARED + 3 * self.cells

    def floor(self, cell: np.ndarray) -> np.ndarray:
        """Position of a cell's floor."""
        return SHARED + cell

    def lr(self, cell: np.ndarray) -> np.ndarray:
        """Position of a cell's scatter of ln lr*."""
        return SHARED + self.cells + cell

    def batch(self, cell: np.ndarray) -> np.ndarray:
        """Position of a cell's scatter of ln B*."""
        return SHARED + 2 * self.cells + cell
