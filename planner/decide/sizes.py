"""Which sizes can be built, counted and priced the way the fitted law counts and prices.

A law speaks one parameter convention and one FLOP convention (contracts.md section 1). Under
``6N+attn`` and ``table`` a token costs what the shape really costs, attention included; under
``6ND`` it costs 6 N, so that budget and law mean the same C.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np

from planner.arrays import Floats
from planner.shape import ModelShape, ShapeFamily, Size

RATIO = 2.0 ** (1 / 16)
"""Step between neighbouring sizes of a black box."""


@dataclass(frozen=True, slots=True)
class BlackBox:
    """Models known by their parameter count alone, at ``flops_per_param`` FLOPs per token each."""

    flops_per_param: float = 6.0

    @classmethod
    def of(cls, sizes: Sequence[Size]) -> Self:
        """Read the price off the sizes of a ladder (their median)."""
        return cls(float(np.median([s.flops_per_token / s.params_matmul for s in sizes])))

    def sizes(self, smallest: float, largest: float) -> list[Size]:
        """List sizes from ``smallest`` to ``largest`` parameters, RATIO apart."""
        count = max(2, round(np.log(largest / smallest) / np.log(RATIO)) + 1)
        return [
            Size(n, n, n, self.flops_per_param * n)
            for n in map(float, np.geomspace(smallest, largest, count))
        ]


Family: TypeAlias = ShapeFamily | BlackBox


@dataclass(frozen=True)
class Ladder:
    """Buildable sizes in ascending order; ``params`` and ``flops_per_token`` have shape (n,)."""

    params: Floats
    flops_per_token: Floats
    sizes: tuple[Size, ...]
    shapes: tuple[ModelShape | None, ...]

    def price(self, params: Floats) -> Floats:
        """Return FLOPs per token at any size, linear in ln-ln between (and beyond) the built."""
        x, y = np.log(self.params), np.log(self.flops_per_token / self.params)
        return np.asarray(params * np.exp(np.interp(np.log(params), x, y)))

    def nearest(self, params: float) -> int:
        """Return the index of the size nearest in ratio."""
        return int(np.argmin(np.abs(np.log(self.params / params))))


def ladder(
    family: Family, span: tuple[float, float], n_convention: str, flops_convention: str
) -> Ladder:
    """List the sizes a family can build over ``span`` parameters, as a law's conventions count."""
    shapes: Sequence[ModelShape | None]
    if isinstance(family, BlackBox):
        sizes = family.sizes(*span)
        shapes = [None] * len(sizes)
    else:
        shapes = family.shapes(*span)
        sizes = [shape.size for shape in shapes if shape]
    params = np.array([params_of(size, n_convention) for size in sizes])
    real = np.array([size.flops_per_token for size in sizes])
    price = 6.0 * params if flops_convention == "6ND" else real
    return Ladder(params, price, tuple(sizes), tuple(shapes))


def params_of(size: Size, n_convention: str) -> float:
    """Count parameters as a law does; ``unspecified`` is taken for the total."""
    if n_convention == "unspecified":
        return size.params_total
    return float(getattr(size, n_convention))
