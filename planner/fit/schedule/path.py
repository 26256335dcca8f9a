"""Where a learning rate went: a path of constant blocks, and what a law sees of it.

Laws of loss under a schedule (:mod:`planner.fit.schedule.laws`) start where the warmup ends; what
lies before counts through its area alone, the ``lead``. A path of many thousand steps becomes some
hundred blocks: laws are sums over blocks, and smooth in their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from planner.arrays import Floats
from planner.errors import UsageError

BLOCKS = 128
"""Equal blocks a recorded path is cut into, besides its records."""
WARM = 0.99
"""Share of the highest learning rate at which the warmup is over."""
JUMP = 0.2
"""A fall by this share of the highest learning rate between two records is a step, not a slope."""
LEAST_LEAD = 1e-3
"""Of the path's own area: a law needs some progress to begin with."""


@dataclass(frozen=True)
class Path:
    """Block k runs from ``at[k]`` to ``at[k + 1]`` (tokens or steps) at ``lr[k]``.

    Shapes (K + 1,) and (K,). ``lead`` is the area of lr over time before ``at[0]``.
    """

    at: Floats
    lr: Floats
    lead: float

    @classmethod
    def recorded(cls, at: Floats, lr: Floats) -> Self:
        """Make a path of records (n,): slopes between them, steps where the lr falls at once.

        Before the first record a linear warmup from zero is assumed. Raises UsageError.
        """
        if len(at) < 2 or not (np.diff(at) > 0).all() or at[0] < 0:
            raise UsageError("a schedule needs two or more records at increasing tokens or steps")
        if not (np.isfinite(lr).all() and (lr >= 0).all() and lr.max() > 0):
            raise UsageError("the learning rates of a schedule must be numbers, 0 or more")
        first = min(int(np.argmax(lr >= WARM * lr.max())), len(at) - 2)
        lead = 0.5 * at[0] * lr[0] + float(np.trapezoid(lr[: first + 1], at[: first + 1]))
        at, lr = at[first:], lr[first:]
        edges = np.unique(np.concatenate([at, np.linspace(at[0], at[-1], BLOCKS + 1)]))
        middle = (edges[1:] + edges[:-1]) / 2
        before = np.searchsorted(at, middle) - 1
        falls = lr[before] - lr[before + 1] > JUMP * lr.max()
        rate = np.where(falls, lr[before], np.interp(middle, at, lr))
        area = float((rate * np.diff(edges)).sum())
        return cls(edges, rate, max(lead, LEAST_LEAD * area))

    @property
    def peak(self) -> float:
        """The highest learning rate."""
        return float(self.lr.max())

    def scaled(self, time: float, rate: float) -> Path:
        """Return the path with times and rates divided by one unit each."""
        return Path(self.at / time, self.lr / rate, self.lead / (time * rate))

    def rate_at(self, times: Floats) -> Floats:
        """Return the learning rate at times (n,)."""
        block = np.clip(np.searchsorted(self.at, times, side="right") - 1, 0, len(self.lr) - 1)
        return np.asarray(self.lr[block], dtype=np.float64)

    def cut(self, end: float) -> Path:
        """Return the path up to a time."""
        kept = int(np.searchsorted(self.at[:-1], end))
        return Path(np.append(self.at[:kept], end), self.lr[:kept], self.lead)


@dataclass(frozen=True)
class Seen:
    """What a law sees of a path at each of n times; arrays (n, K) or (1, K), a column per block.

    Block k holds ``lr`` and was ``spent`` so long by then; it began ``since`` ago, with ``area``
    of lr over time since, and lr lower by ``drop`` than before. ``lead`` is (n, 1).
    """

    lr: Floats
    drop: Floats
    spent: Floats
    since: Floats
    area: Floats
    lead: Floats

    @classmethod
    def of(cls, path: Path, times: Floats) -> Self:
        """Look at one path at times (n,), not before its begin."""
        return cls.rows(path.at[None], path.lr[None], path.lead, times)

    @classmethod
    def ends(cls, paths: Sequence[Path]) -> Self:
        """Look at the end of each of several paths of equally many blocks."""
        at = np.stack([path.at for path in paths])
        lead = np.array([[path.lead] for path in paths])
        return cls.rows(at, np.stack([path.lr for path in paths]), lead, at[:, -1])

    @classmethod
    def rows(cls, at: Floats, lr: Floats, lead: Floats | float, times: Floats) -> Self:
        """Look at paths (n or 1, K + 1) and (n or 1, K) at times (n,), a row each."""
        width, t = np.diff(at), times[:, None]
        since = np.maximum(t - at[:, :-1], 0.0)
        spent = np.minimum(since, width)
        done = lr * spent
        area = np.cumsum(done[:, ::-1], axis=1)[:, ::-1]
        drop = -np.diff(lr, prepend=lr[:, :1])
        return cls(lr, drop, spent, since, area, np.broadcast_to(lead, (len(times), 1)))

    def __len__(self) -> int:
        return len(self.spent)

    def take(self, rows: np.ndarray) -> Seen:
        """Return some of the times of one path."""
        pick = (self.spent, self.since, self.area, self.lead)
        return Seen(self.lr, self.drop, *(array[rows] for array in pick))
