"""The size of the gradient on a small batch against a big one, measured while a trial trains.

Two squared norms, of the same weights and before clipping, are what the gradient noise scale is
estimated from (McCandlish et al. 2018). One is the step's own. The other is that of the batch's
first window, or, where the batch is a single window, of ``LEAST_BIG`` windows from there on. It
takes a pass of its own and leaves nothing behind: a run is the same bit for bit with or without.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from planner.proxies._stepper import Stepper

LEAST_BIG = 4
"""Windows of the big batch where the training batch is a single one."""

MEASUREMENTS, MEASURED_SHARE = 50, 0.02
"""Measurements of a run: at most so many, and at most this share of its tokens again."""


class NoiseScale:
    """What is measured of one trial, at ``steps``: evenly over it, a function of it alone."""

    def __init__(self, stepper: Stepper) -> None:
        self._stepper = stepper
        trial, windows = stepper.trial, stepper.windows
        self._other = 1 if windows > 1 else LEAST_BIG
        begin = trial.fork_at // trial.batch_tokens
        end = min(trial.steps, (len(stepper.batches) - self._other) // windows + 1)
        affordable = int(MEASURED_SHARE * (end - begin) * windows / self._other)
        count = min(MEASUREMENTS, affordable)
        at = (begin + (end - begin) * (2 * i + 1) // (2 * count) for i in range(count))
        self.steps = frozenset(at)

    def other_norm(self, step: int) -> Tensor | None:
        """Return the gradient's norm on the batch that a step does not take itself.

        None at steps that are not measured.
        """
        if step not in self.steps:
            return None
        stepper = self._stepper
        stepper.gradient(step * stepper.windows, self._other)
        norm: Tensor = torch.linalg.vector_norm(stepper.model.gradient)
        return norm

    def squares(self, pairs: Collection[tuple[Tensor, Tensor]]) -> dict[str, float]:
        """Return the mean squared norms of (the step's, the other batch's) gradients."""
        own, other = (float((torch.stack(norms) ** 2).mean()) for norms in zip(*pairs, strict=True))
        small, big = (other, own) if self._stepper.windows > 1 else (own, other)
        return {"grad_sq_small": small, "grad_sq_big": big}

    def metrics(self) -> dict[str, float]:
        """Return the tokens of the small and the big batch, and what measuring cost besides."""
        context = self._stepper.model.shape.context
        small, big = sorted((self._stepper.windows, self._other))
        extra = len(self.steps) * self._other * context
        return {
            "batch_small": small * context,
            "batch_big": big * context,
            "measured_tokens": extra,
        }
