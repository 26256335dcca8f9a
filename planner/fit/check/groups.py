"""Sums, spreads and bins over rows that belong together; linear in the rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from planner.arrays import Floats

BINS = 6
"""Bins of an axis on which nearly every row has a value of its own."""
MOST_LEVELS = 40
"""More distinct values than this are binned."""


def numbered(rows: np.ndarray | Sequence[object]) -> np.ndarray:
    """Return the number (n,) of each row's distinct value; rows of a matrix (n, K) count whole."""
    index = np.unique(np.asarray(rows), axis=0, return_inverse=True)[1]
    return np.asarray(index).ravel()


def totals(columns: Floats, group: np.ndarray) -> Floats:
    """Return the sums (G, K) of columns (n, K) over each group."""
    sums = np.zeros((int(group.max()) + 1, columns.shape[1]))
    np.add.at(sums, group, columns)
    return sums


def spread(values: Floats, group: np.ndarray) -> Floats:
    """Return the largest less the smallest value (n,) in each group, shape (G,)."""
    return np.asarray(-least(-values, group) - least(values, group))


def least(values: Floats, group: np.ndarray) -> Floats:
    """Return the smallest value (n,) in each group, shape (G,)."""
    smallest = np.full(int(group.max()) + 1, np.inf)
    np.minimum.at(smallest, group, values)
    return smallest


def binned(axis: Floats) -> Floats:
    """Return values (n,) shared by enough rows to judge: their own, or the medians of bins."""
    if len(np.unique(axis)) <= min(len(axis) // 3, MOST_LEVELS):
        return axis
    edges = np.quantile(axis, np.linspace(0.0, 1.0, BINS + 1)[1:-1])
    index = numbered(np.searchsorted(edges, axis))
    medians = [np.median(axis[index == k]) for k in range(int(index.max()) + 1)]
    return np.asarray(np.array(medians)[index])


def indicators(labels: Floats) -> tuple[Floats, Floats]:
    """Return the distinct labels (K,) and their 0/1 columns (n, K)."""
    names, index = np.unique(labels, return_inverse=True)
    return names, np.eye(len(names))[index]
