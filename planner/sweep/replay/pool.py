"""What a replay may buy, what it has seen and what it decides about: plain arrays of rows.

The rows of the target's own (N, D) cell are taken out before anything else happens, so no policy
and no recommender can see them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from planner.arrays import Flags, Floats

KEPT = 0.8
"""Share of the proxy rows that are in a seed's table (contracts.md section 6)."""
SAME = 5e-3
"""Sizes and horizons this close, relatively, are one cell: as ``==`` in a query."""

Positions = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Target:
    """What is decided about: lr and batch of a run (N, D), or with nan for both the size at C."""

    params: float
    tokens: float
    flops: float


@dataclass(frozen=True)
class Offer:
    """Rows that may be bought and are affordable, arrays (n,); no losses. nan where unknown.

    ``index`` (n,) is the row of the pool.
    """

    params: Floats
    tokens: Floats
    batch_tokens: Floats
    lr: Floats
    flops: Floats
    index: Positions

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True)
class Seen:
    """What was bought, arrays (k,) in the order of the pool; the loss is nan where it diverged."""

    params: Floats
    tokens: Floats
    batch_tokens: Floats
    lr: Floats
    flops: Floats
    loss: Floats

    def __len__(self) -> int:
        return len(self.loss)


@dataclass(frozen=True)
class Pool:
    """All proxy rows of a table, arrays (n,), and the target they are bought for.

    ``loss`` is nan where a run diverged: bought, it costs its FLOPs and says only that.
    """

    params: Floats
    tokens: Floats
    batch_tokens: Floats
    lr: Floats
    flops: Floats
    loss: Floats
    target: Target

    def __len__(self) -> int:
        return len(self.loss)

    def take(self, rows: Flags | Positions) -> Self:
        """Return the pool with some of its rows."""
        columns = {f.name: getattr(self, f.name)[rows] for f in fields(Seen)}
        return replace(self, **columns)

    def drawn(self, seed: int) -> Self:
        """Return the table a seed draws: every row is there with probability KEPT."""
        return self.take(np.random.default_rng([seed, 0]).random(len(self)) < KEPT)

    def offer(self, bought: Flags, left: float) -> Offer:
        """Return the rows not bought yet that cost no more than what is left."""
        index = np.flatnonzero(~bought & (self.flops <= left))
        columns = {f.name: getattr(self, f.name)[index] for f in fields(Offer) if f.name != "index"}
        return Offer(index=index, **columns)

    def seen(self, bought: Flags) -> Seen:
        """Return the rows that were bought, with their losses."""
        return Seen(*(getattr(self, f.name)[bought] for f in fields(Seen)))


class Policy(Protocol):
    """Says which runs to buy next: a pure function of what was bought and of the round's rng."""

    @property
    def name(self) -> str:
        """What the policy is called."""
        ...

    def propose(
        self, offer: Offer, seen: Seen, target: Target, left: float, rng: np.random.Generator
    ) -> Positions:
        """Return positions in the offer, one closed round, dearest wish first; empty = stop."""
        ...


def same_cell(
    params: Floats, tokens: Floats, cell: tuple[float, float], within: float = SAME
) -> Flags:
    """Return the mask (n,) of rows at a cell (N, D)."""
    near = np.abs(np.log(params / cell[0])) <= within
    return np.asarray(near & (np.abs(np.log(tokens / cell[1])) <= within))


def cell_labels(params: Floats, tokens: Floats) -> Positions:
    """Return a number (n,) per row that rows of one (N, D) share, in the order of N, then D."""
    where = np.round(np.log(np.stack([params, tokens], axis=1)) / SAME).astype(np.int64)
    return np.unique(where, axis=0, return_inverse=True)[1].ravel()


def pool_for(runs: Seen, target: Target, max_flops: float = np.inf) -> Pool:
    """Make a pool of all runs but the target's own cell and those dearer than ``max_flops``."""
    hidden = same_cell(runs.params, runs.tokens, (target.params, target.tokens))
    columns = {f.name: getattr(runs, f.name) for f in fields(Seen)}
    return Pool(target=target, **columns).take(~hidden & (runs.flops <= max_flops))
