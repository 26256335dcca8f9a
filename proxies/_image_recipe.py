"""Decides what the options of the image proxy may say; refuses the rest in sentences."""

from __future__ import annotations

import math
from dataclasses import dataclass

from planner.errors import SpaceError
from planner.proxies._image_optim import OPTIMIZERS

CHOICES = {
    "arch": ("cnn", "vit"),
    "optimizer": OPTIMIZERS,
    "augment": ("shift", "shift+mirror", "none"),
    "precision": ("auto", "fp32", "bf16"),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How every trial of a study is trained, beside what the trial itself says."""

    arch: str
    optimizer: str
    augment: str
    label_smoothing: float
    precision: str

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if (given := getattr(self, name)) not in known:
                raise SpaceError(
                    f"image knows no {name} {given!r}: write one of {', '.join(known)}"
                )
        smooth = self.label_smoothing
        if isinstance(smooth, bool) or not (isinstance(smooth, int | float) and 0 <= smooth < 1):
            raise SpaceError(f"image: label_smoothing is {smooth!r}; it must be from 0 to below 1")

    def least_loss(self, classes: int) -> float:
        """Return the plain cross-entropy (nats) that training on smoothed labels tends to at best.

        Its optimum gives the right class 1 - s + s/K and no more, however sure it could be. A run
        that solves its task whole scatters round this: .238 where .255 is best (s = .3, K = 4).
        """
        return -math.log(1.0 - self.label_smoothing * (1.0 - 1.0 / classes))
