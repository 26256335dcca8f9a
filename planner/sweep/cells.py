"""Sizes and horizons: the cells of a search space, and which of them one trunk can serve."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from planner.errors import SpaceError
from planner.proxy import UNFIT, Proxy
from planner.run import UNIQUE
from planner.shape import Size
from planner.space import SearchSpace

FORK_SPAN = 4.0
"""Span of horizons one trunk serves; beyond it the batch is not the branch's (science H)."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A size and a horizon."""

    shape: Mapping[str, Any]
    size: Size
    tokens: int

    @property
    def flops(self) -> float:
        """C of one run of the cell."""
        return self.size.flops(self.tokens)


def trunk_groups(cells: Sequence[Cell], forks: bool) -> list[list[Cell]]:
    """Split one size's cells into groups a trunk can serve: horizons within x4, longest first."""
    groups: list[list[Cell]] = []
    for cell in sorted(cells, key=lambda c: -c.tokens):
        if forks and groups and groups[-1][0].tokens <= FORK_SPAN * cell.tokens:
            groups[-1].append(cell)
        else:
            groups.append([cell])
    return groups


def by_size(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Group cells by size, smallest first, and within one by the data they may see."""
    groups: dict[tuple[float, float], list[Cell]] = {}
    for cell in cells:
        data = cell.shape.get(UNIQUE, math.inf)
        groups.setdefault((cell.size.params_matmul, data), []).append(cell)
    return [groups[size] for size in sorted(groups)]


def cells_of(space: SearchSpace, proxy: Proxy) -> list[Cell]:
    """Return every size at every horizon. Raises SpaceError for a size that is none."""
    sizes = [_size_of(proxy, shape) for shape in space.shapes]
    for unique in space.horizons.unique if "subset" in proxy.capabilities else ():
        _size_of(proxy, {**space.shapes[0], UNIQUE: unique})  # may refuse more than there is
    return [
        Cell(shape, size, common_horizon(tokens))
        for shape, size in zip(space.shapes, sizes, strict=True)
        for tokens in sorted(space.horizons.tokens_per_run)
    ]


def _size_of(proxy: Proxy, shape: Mapping[str, Any]) -> Size:
    try:
        size = proxy.size(shape)
    except UNFIT as error:
        raise SpaceError(f"the proxy cannot say how large {dict(shape)} is: {error!r}") from error
    if not (0 < size.params_matmul < math.inf and 0 < size.flops_per_token < math.inf):
        raise SpaceError(
            f"the size {dict(shape)} has no parameters or no FLOPs that can be counted"
        )
    return size


def common_horizon(tokens: int) -> int:
    """Round a horizon (by less than 1 %) so that every batch up to a 64th of it divides it.

    Runs that differ in batch then see the same number of tokens, and can be compared.
    """
    unit = 1 << max(0, int(math.log2(tokens)) - 6)
    return round(tokens / unit) * unit
