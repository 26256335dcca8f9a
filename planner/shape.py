"""Exact parameters and FLOPs of a decoder-only transformer, and families of such shapes.

Per token a training step costs (contracts.md section 1; full attention, backward = 2 x forward)

    flops_per_token = 6 * params_matmul + 12 * layers * attention_width * context

with ``params_matmul`` every matrix a token is multiplied with: the blocks and the head, and no
input embedding unless it is the tied head. Checked against ``torch.utils.flop_counter`` in the
tests.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any, Self

from planner.errors import SpaceError

HARDWARE_WIDTH = 1024
"""From this width on a family takes heads of at least 64 and rounds ffn to 128: narrow heads and
ragged matrices leave tensor cores idle."""

WIDTH_STEPS = ((512, 1), (2048, 64), (math.inf, 128))
"""Widths are multiples of this (and of head_dim) below the given width."""


@dataclass(frozen=True, slots=True)
class Size:
    """What the laws know of a model: parameters in three conventions, and FLOPs per token."""

    params_matmul: float
    params_non_embedding: float
    params_total: float
    flops_per_token: float

    def flops(self, tokens: float) -> float:
        """Return C of a run of ``tokens`` tokens, the whole path from step 0."""
        return self.flops_per_token * float(tokens)


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A decoder-only transformer: RMSNorm, rotary, QK-norm, SwiGLU, grouped-query attention."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    context: int
    tied: bool = False
    qk_norm: bool = True

    def __post_init__(self) -> None:
        counts = asdict(self) | {"tied": 1, "qk_norm": 1}
        if wrong := [f"{name} = {value}" for name, value in counts.items() if value < 1]:
            raise SpaceError(f"impossible shape: {', '.join(wrong)}; every count is at least 1")
        if self.heads % self.kv_heads:
            raise SpaceError(
                f"impossible shape: {self.heads} heads cannot share {self.kv_heads} kv heads; "
                "heads must be a multiple of kv_heads"
            )
        if self.head_dim % 2:
            raise SpaceError(
                f"impossible shape: head_dim {self.head_dim} is odd; rotary needs pairs"
            )

    @property
    def attention_width(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_dim

    @property
    def params_blocks(self) -> int:
        """Matrix parameters of the blocks alone."""
        attention = 2 * self.width * (self.attention_width + self.kv_heads * self.head_dim)
        return self.layers * (attention + 3 * self.width * self.ffn)

    @property
    def params_norms(self) -> int:
        """Gains: two per layer over the width, two per head dimension with QK-norm, one last."""
        per_layer = 2 * self.width + (2 * self.head_dim if self.qk_norm else 0)
        return self.layers * per_layer + self.width

    @property
    def params_matmul(self) -> int:
        """Blocks and head: what a token is multiplied with."""
        return self.params_blocks + self.vocab * self.width

    @property
    def params_non_embedding(self) -> int:
        """Kaplan's convention: neither embedding nor head, gains included."""
        return self.params_blocks + self.params_norms

    @property
    def params_total(self) -> int:
        """Every trained number."""
        tables = 1 if self.tied else 2
        return self.params_non_embedding + tables * self.vocab * self.width

    @property
    def size(self) -> Size:
        """The shape's :class:`Size`."""
        attention = 12.0 * self.layers * self.attention_width * self.context
        return Size(
            float(self.params_matmul),
            float(self.params_non_embedding),
            float(self.params_total),
            6.0 * self.params_matmul + attention,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the shape as plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ShapeFamily:
    """A rule that makes one shape per width, so that sizes differ in nothing but size.

    ``aspect`` is width per layer; with ``depth`` set every shape has that many layers instead.
    """

    vocab: int
    context: int
    head_dim: int = 16
    depth: int | None = None
    aspect: float = 64.0
    kv_share: int = 1
    tied: bool = False
    ffn_multiple: int = 8

    def at_width(self, width: int, depth: int | None = None) -> ModelShape:
        """Build the shape of a width; ffn is 8/3 of it, rounded to ``ffn_multiple``.

        Raises SpaceError when the heads do not divide the width.
        """
        if width < self.head_dim or width % self.head_dim:
            raise SpaceError(
                f"impossible shape: width {width} is not a multiple of head_dim {self.head_dim}; "
                f"try {max(1, round(width / self.head_dim)) * self.head_dim}, or another head_dim"
            )
        heads = width // self.head_dim
        layers = depth or self.depth or max(1, round(width / self.aspect))
        ffn = max(1, round(8 * width / (3 * self.ffn_multiple))) * self.ffn_multiple
        kv_heads = heads // self.kv_share if heads % self.kv_share == 0 else heads
        return ModelShape(
            layers, width, heads, kv_heads, self.head_dim, ffn, self.vocab, self.context, self.tied
        )

    def near(self, params: float) -> ModelShape:
        """Return the buildable shape whose ``params_matmul`` is nearest to ``params`` in ratio."""
        return min(
            self.shapes(params, params), key=lambda s: abs(math.log(s.params_matmul / params))
        )

    def shapes(self, smallest: float, largest: float) -> list[ModelShape]:
        """List the buildable shapes between two ``params_matmul``, and one beyond either end."""
        found: list[ModelShape] = []
        width = 0
        while not found or found[-1].params_matmul < largest:
            family = self if width < HARDWARE_WIDTH else self._for_hardware()
            step = math.lcm(family.head_dim, next(s for w, s in WIDTH_STEPS if width < w))
            width = (width // step + 1) * step
            shape = family.at_width(width)
            found = [shape] if shape.params_matmul <= smallest else [*found, shape]
        return found

    def _for_hardware(self) -> Self:
        """Return the family with heads and ffn that matrix units like: multiples of 64 and 128."""
        head_dim, ffn = max(self.head_dim, 64), math.lcm(self.ffn_multiple, 128)
        return replace(self, head_dim=head_dim, ffn_multiple=ffn)

    @classmethod
    def of(cls, shapes: Sequence[ModelShape]) -> Self:
        """Read the family off a ladder: one depth if all agree, else the median width per layer."""
        first = shapes[0]
        depths = {shape.layers for shape in shapes}
        return cls(
            vocab=first.vocab,
            context=first.context,
            head_dim=first.head_dim,
            depth=first.layers if len(depths) == 1 else None,
            aspect=median(shape.width / shape.layers for shape in shapes),
            kv_share=first.heads // first.kv_heads,
            tied=first.tied,
        )


def size_from_mapping(shape: Mapping[str, Any]) -> Size:
    """Read a :class:`Size` a user states for a black box: ``params`` and maybe ``flops_per_token``.

    ``params`` fills every convention that is not stated; FLOPs per token default to 6 * params.
    """
    if "params" not in shape and "params_matmul" not in shape:
        raise SpaceError(
            f"the size {dict(shape)} states no `params`; a black box must say its parameter count"
        )
    matmul = float(shape.get("params_matmul", shape.get("params", 0.0)))
    return Size(
        matmul,
        float(shape.get("params_non_embedding", matmul)),
        float(shape.get("params_total", matmul)),
        float(shape.get("flops_per_token", 6.0 * matmul)),
    )
