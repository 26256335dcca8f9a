"""How a model's numbers scale with its size: sp, muP or CompleteP.

With m = width / base_width and l = depth / base_depth, against sp (Adam, coupled weight decay):

                    learning rate   weight decay   forward
    embedding       1               none           x alpha_in
    hidden matrix   1 / m           m              residual branch x 1 / l (CompleteP)
    norm gain       1               none
    head            1               1              logits x alpha_out / m
    attention                                      q k' / head_dim, not / sqrt(head_dim)

so lr x weight decay stays the same for every matrix. CompleteP also scales Adam's eps by 1 / (m l).
Initial values need no factor: hidden matrices start at 1 / sqrt(fan in), which is muP's
sigma / sqrt(m), a head and the projections back to the stream at 0, embeddings at a constant.

muP: Yang et al. 2022 (Tensor Programs V). CompleteP: Dey et al. 2025 at alpha = 1, where the depth
factors l^(alpha - 1) of hidden and gain learning rates are 1. At m = l = 1 all but the attention
scale is sp's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from planner.errors import SpaceError

NAMES = ("sp", "mup", "completep")

BASE_WIDTH, BASE_DEPTH = 64, 2
"""Where m and l are 1 unless the YAML says otherwise; only the product with lr has a meaning."""


@dataclass(frozen=True, slots=True)
class Multipliers:
    """The factors at one shape; the defaults are sp's."""

    embedding: float = 1.0
    """What the embedding's output is multiplied with."""
    residual: float = 1.0
    """What every branch is multiplied with before it joins the stream."""
    logits: float = 1.0
    attention: float | None = None
    """Scale of q k'; None is 1 / sqrt(head_dim)."""
    hidden_lr: float = 1.0
    """Factor of the learning rate of hidden matrices."""
    hidden_decay: float = 1.0
    """Factor of their weight decay, which AdamW multiplies with their learning rate."""
    eps: float = 1.0
    """Factor of Adam's epsilon, for all parameters."""


@dataclass(frozen=True, slots=True)
class Parametrization:
    """A checked choice. ``base_width`` and ``base_depth`` are where m and l are 1."""

    name: str = "sp"
    base_width: int = BASE_WIDTH
    base_depth: int = BASE_DEPTH
    alpha_in: float = 1.0
    alpha_out: float = 1.0

    @classmethod
    def read(cls, name: str, given: Mapping[str, Any]) -> Parametrization:
        """Check the options of a YAML; those that are None were not given. Raises SpaceError."""
        if name not in NAMES:
            raise SpaceError(
                f"gpt knows no parametrization {name!r}: write one of {', '.join(NAMES)}"
            )
        stated = {option: value for option, value in given.items() if value is not None}
        for option, value in stated.items():
            _check(name, option, value)
        return cls(name, **stated)

    def at(self, width: int, depth: int, head_dim: int) -> Multipliers:
        """Return the factors of a shape."""
        if self.name == "sp":
            return Multipliers()
        m, deeper = width / self.base_width, self._deeper(depth)
        return Multipliers(
            embedding=self.alpha_in,
            residual=1.0 / deeper,
            logits=self.alpha_out / m,
            attention=1.0 / head_dim,
            hidden_lr=1.0 / m,
            hidden_decay=m,
            eps=1.0 / (m * deeper) if self.name == "completep" else 1.0,
        )

    def _deeper(self, depth: int) -> float:
        return depth / self.base_depth if self.name == "completep" else 1.0

    def recipe(self) -> dict[str, Any]:
        """Return what identifies the choice; under sp its name says it all."""
        found: dict[str, Any] = {"parametrization": self.name}
        if self.name == "sp":
            return found
        found |= {"base_width": self.base_width}
        if self.name == "completep":
            found |= {"base_depth": self.base_depth}
        return found | {"alpha_in": self.alpha_in, "alpha_out": self.alpha_out}


def _check(name: str, option: str, value: Any) -> None:  # noqa: ANN401 - out of a YAML file
    if name == "sp" or (name == "mup" and option == "base_depth"):
        needs = "completep" if option == "base_depth" else "mup` or `completep"
        raise SpaceError(
            f"`{option}` means nothing under parametrization {name}: remove it, or write "
            f"`parametrization: {needs}`"
        )
    whole = option.startswith("base_")
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or value <= 0 or (whole and value != int(value)):
        kind = "a whole number of at least 1" if whole else "a positive number"
        raise SpaceError(f"gpt's `{option}` is {value!r}: write {kind}")
