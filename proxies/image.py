"""The shipped image classifier: a small residual CNN or a small vision transformer.

Trains a :class:`planner.run.Trial` whose tokens are images seen: D and batch count images.
It is judged, in fp32, by the plain cross-entropy (nats per image) on a frozen validation set; label
smoothing and augmentation are training's alone. Accuracy is reported beside it. Shapes are
``{width, depth}``, with ``unique`` for a run that knows only that many images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import torch

from planner.errors import SpaceError
from planner.proxies import _checkpoint
from planner.proxies._image_data import ImageSet, prepare_images
from planner.proxies._image_model import ImageModel, ImageShape
from planner.proxies._image_optim import SGD_L2
from planner.proxies._image_recipe import Recipe
from planner.proxies._image_stepper import ImageStepper, judge
from planner.proxies._loop import Training
from planner.proxy import Context, Outcome
from planner.run import Status, Trial
from planner.shape import Size

VERSION = 1
"""Raised whenever the same trial would end at another loss."""

LEAST_BATCH = 32
"""Images a step. Digits (width 8, 8,000 images) like smaller batches a little better (.30 nats at
2, .36 at 8, .41 at 32), but a step of 2 costs a CPU the time of one of 16 and .85 of one of 32, a
GPU idles, and as many steps on twice the images end lower (.30 to .23) and scatter less."""

SHAPE = frozenset({"width", "depth"})


class ImageProxy:
    """A :class:`planner.proxy.Proxy` for images; cheap to make, the images are read on demand.

    ``arch`` cnn or vit (``patch`` pixels a side), ``optimizer`` sgd (Nesterov; momentum is the
    trial's beta1), adamw or lamb, ``augment`` shift, shift+mirror or none. Raises SpaceError for
    options it does not know.
    """

    capabilities = frozenset({"fork", "resume", "subset"})
    unit = "images"

    def __init__(  # noqa: PLR0913 - the options of the YAML
        self,
        data: Mapping[str, Any],
        *,
        arch: str = "cnn",
        optimizer: str = "sgd",
        augment: str = "shift",
        label_smoothing: float = 0.1,
        patch: int = 2,
        precision: str = "auto",
    ) -> None:
        self.options = Recipe(arch, optimizer, augment, label_smoothing, precision)
        self.patch, self.data = patch, dict(data)

    @cached_property
    def images(self) -> ImageSet:
        """The images, read and split when first asked for. Raises DataError."""
        return prepare_images(self.data)

    def size(self, shape: Mapping[str, Any]) -> Size:
        """Return exact parameters and FLOPs per image of a shape."""
        return self._shape(shape).size

    def recipe(self) -> Mapping[str, Any]:
        """Return what every trial of this proxy shares; reads the images."""
        images, options = self.images, self.options
        return {
            "proxy": "image",
            "version": VERSION,
            "unit": self.unit,
            "least_batch": LEAST_BATCH,
            "arch": options.arch,
            **({"patch": self.patch} if options.arch == "vit" else {}),
            "side": images.side,
            "channels": images.channels,
            "classes": images.classes,
            "train_hash": images.train_hash,
            "validation_hash": images.validation_hash,
            "unique_tokens": len(images.train),
            "validation_images": len(images.validation),
            "augment": options.augment,
            "label_smoothing": options.label_smoothing,
            "precision": options.precision,
            "optimizer": f"{options.optimizer}, decay of matrices only",
            **({"weight_decay": SGD_L2} if options.optimizer == "sgd" else {}),
            "clip": "global norm",
        }

    def train(self, trial: Trial, ctx: Context) -> Outcome:
        """Train one trial; StopTrial passes through. Raises SpaceError, DataError, UsageError."""
        torch.set_num_threads(1)
        self._check(trial)
        model = ImageModel(self._shape(trial.shape), trial.seed, ctx.device)
        bf16 = self._bf16(ctx.device)
        stepper = ImageStepper(model, trial, self.images, self.options, bf16=bf16)
        training = Training(stepper, ctx)
        state, damage = _checkpoint.load_start(trial, ctx.checkpoint_dir, ctx.parent, ctx.device)
        if state is not None:
            training.restore(state)
        training.run()
        outcome = training.ended(partial(self._judged, stepper))
        return replace(outcome, note="; ".join(filter(None, (damage, outcome.note))))

    def _shape(self, shape: Mapping[str, Any]) -> ImageShape:
        if set(shape) - {"unique"} != SHAPE:
            raise SpaceError(f"image sizes are a width and a depth, not {dict(shape)}")
        images = self.images
        there, unique = len(images.train), shape.get("unique", len(images.train))
        if not images.classes <= unique <= there:
            raise SpaceError(
                f"a run cannot know {unique:,} different images: there are {there:,} to train on, "
                f"of {images.classes} classes"
            )
        return ImageShape(
            arch=self.options.arch,
            width=int(shape["width"]),
            depth=int(shape["depth"]),
            side=images.side,
            channels=images.channels,
            classes=images.classes,
            patch=self.patch,
        )

    def _check(self, trial: Trial) -> None:
        marks = (trial.fork_at, *trial.keep_at)
        if trial.steps < 1 or any(images % trial.batch_tokens for images in marks):
            raise SpaceError(
                f"a run of {trial.tokens:,} images in batches of {trial.batch_tokens:,}, fork_at "
                f"and keep_at {marks} cannot be: each must be whole batches, at least one"
            )

    def _bf16(self, device: str) -> bool:
        able = device.startswith("cuda") and torch.cuda.is_bf16_supported()
        wanted = self.options.precision
        return wanted == "bf16" or (wanted == "auto" and able)

    def _judged(self, stepper: ImageStepper, seen: int) -> Outcome:
        losses, right = judge(stepper.model, self.images)
        loss, count = float(losses.mean()), len(losses)
        if not math.isfinite(loss):
            return Outcome(Status.DIVERGED, math.nan, math.nan, seen, f"final loss {loss}")
        metrics = {
            "params": float(stepper.model.flat.numel()),
            "accuracy": float(right.double().mean()),
            "unique_tokens": float(stepper.order.count),
            "epochs": seen / stepper.order.count,
            "least_loss": self.options.least_loss(self.images.classes),
        }
        return Outcome(Status.DONE, loss, float(losses.std()) / math.sqrt(count), seen, "", metrics)
