"""One optimizer step on images, and what is done to an image before it is seen.

Augmentation is part of the recipe and the same on every rung: a shift by up to an eighth of the
side with zeros moving in, and, where the option asks for it, a mirror image every other time. What
befalls an image is a function of the seed and its position in the run, so that a resumed run is
the uninterrupted one. Labels are smoothed in training alone:

    loss = (1 - s) CE + s mean over classes of -ln p
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from planner.proxies._image_data import ImageSet, Order
from planner.proxies._image_model import ImageModel
from planner.proxies._image_optim import make_optimizer
from planner.proxies._image_recipe import Recipe
from planner.proxies._optim import clip_gradient
from planner.run import Trial

MICRO = 1_024
"""Images that pass at a time; a larger batch is accumulated. Their activations fit any device."""


class ImageStepper:
    """The model and optimizer of one trial on the first ``unique`` images of a set."""

    note = ""
    waited = 0.0
    """Seconds spent waiting for data, which lie in memory here."""

    def __init__(
        self, model: ImageModel, trial: Trial, images: ImageSet, recipe: Recipe, *, bf16: bool
    ) -> None:
        self.model, self.trial, self.recipe, self.bf16 = model, trial, recipe, bf16
        self.micro = MICRO
        self.optimizer = make_optimizer(recipe.optimizer, model, trial)
        unique = int(trial.shape.get("unique", len(images.train)))
        self.order = Order(unique, trial.seed)
        device = model.flat.device
        self._shift = max(1, images.side // 8) if recipe.augment != "none" else 0
        self._pixels = padded(images.train.pixels[:unique], self._shift).to(device)
        self._labels = torch.from_numpy(images.train.labels[:unique]).to(device)

    def take(self, step: int, lr: float) -> tuple[Tensor, Tensor]:
        """Take an optimizer step; return the mean loss per image and the gradient's norm."""
        count = self.trial.batch_tokens
        rows = self.order.at(step * count, count)
        images, labels = self._augmented(rows, step), self._labels[torch.from_numpy(rows)]
        total = torch.zeros((), device=images.device)
        self.model.gradient.zero_()
        for part, wanted in zip(
            torch.split(images, self.micro), torch.split(labels, self.micro), strict=True
        ):
            with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bf16):
                logits = self.model.logits(part)
            smooth = self.recipe.label_smoothing
            loss = functional.cross_entropy(logits, wanted, reduction="sum", label_smoothing=smooth)
            torch.autograd.backward(loss / count)
            total += loss.detach() / count
        norm = clip_gradient(self.model.gradient, self.trial.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        return total, norm

    def shrink(self, micro: int) -> None:
        """Let at most ``micro`` images pass at a time from now on."""
        self.micro = min(self.micro, micro)

    def metrics(self) -> dict[str, float]:
        """Return nothing: its steps are all alike."""
        return {}

    def _augmented(self, rows: np.ndarray, step: int) -> Tensor:
        """Return the images of a step as they are seen, (n, channels, side, side) from 0 to 1."""
        device, shift = self._pixels.device, self._shift
        at = torch.from_numpy(rows).to(device)
        if not shift:
            return _scaled(self._pixels[at])
        draws = np.random.default_rng([self.trial.seed, 1, step])
        offsets = torch.from_numpy(draws.integers(0, 2 * shift + 1, (2, len(rows), 1))).to(device)
        side = torch.arange(self._pixels.shape[1] - 2 * shift, device=device)
        across = side.expand(len(rows), -1)
        if self.recipe.augment == "shift+mirror":
            mirror = torch.from_numpy(draws.integers(0, 2, (len(rows), 1))).to(device)
            across = torch.where(mirror == 1, across.flip(1), across)
        down, right = side + offsets[0], across + offsets[1]
        return _scaled(self._pixels[at[:, None, None], down[:, :, None], right[:, None, :]])


def padded(pixels: np.ndarray, shift: int) -> Tensor:
    """Return bytes (n, side, side, channels) with ``shift`` zeros on every side."""
    wide = np.pad(pixels, ((0, 0), (shift, shift), (shift, shift), (0, 0)))
    return torch.from_numpy(wide)


def _scaled(pixels: Tensor) -> Tensor:
    return pixels.permute(0, 3, 1, 2).float() / 255


@torch.inference_mode()
def judge(model: ImageModel, images: ImageSet) -> tuple[Tensor, Tensor]:
    """Return the plain cross-entropy (n,) of every validation image, and whether it was right."""
    losses, right = [], []
    device = model.flat.device
    for first in range(0, len(images.validation), MICRO):
        rows = slice(first, first + MICRO)
        pixels = torch.from_numpy(images.validation.pixels[rows]).to(device)
        labels = torch.from_numpy(images.validation.labels[rows]).to(device)
        logits = model.logits(_scaled(pixels))
        losses.append(functional.cross_entropy(logits, labels, reduction="none").double())
        right.append(logits.argmax(1) == labels)
    return torch.cat(losses), torch.cat(right)
