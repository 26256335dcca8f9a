"""One optimizer step, and the size of the gradient on a small batch against a big one.

Two squared norms, of the same weights and before clipping, are what the gradient noise scale is
estimated from (McCandlish et al. 2018). One is the step's own. The other is that of the batch's
first window, or, where the batch is a single window, of ``LEAST_BIG`` windows from there on. It
takes a pass of its own and leaves nothing behind: a run is the same bit for bit with or without.

Where the memory does not hold a micro-batch, it is halved until it does and the same gradient is
summed from more parts: equal to rounding, and to the last bit with that micro-batch from the start.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from planner.proxies._compile import Code
from planner.proxies._data import Batches
from planner.proxies._model import Gpt
from planner.proxies._optim import clip_gradient, make_optimizer, parts
from planner.run import Trial

LEAST_BIG = 4
"""Windows of the big batch where the training batch is a single one."""

MEASUREMENTS, MEASURED_SHARE = 50, 0.02
"""Measurements of a run: at most so many, and at most this share of its tokens again."""


OUT_OF_MEMORY = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""What torch says where it raises no error of its own for it: on a CPU, and in cuBLAS."""


def out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that the device or the machine has no memory left."""
    named = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return named or any(words in str(error) for words in OUT_OF_MEMORY)


class Stepper:
    """The model and optimizer of one trial: ``micro`` windows pass at a time, in bf16 or fp32.

    Steps run ``code``, where it is given and memory holds, with the windows it was made for.
    """

    def __init__(
        self,
        model: Gpt,
        trial: Trial,
        batches: Batches,
        *,
        micro: int,
        bf16: bool,
        optimizer: str = "adamw",
    ) -> None:
        self.model, self.trial, self.batches = model, trial, batches
        self.micro, self.bf16, self.shrunk = micro, bf16, False
        self.code: Code | None = None
        self.optimizer = make_optimizer(optimizer, model, trial)
        self._parts = parts(model, optimizer)
        self.windows = trial.batch_tokens // model.shape.context

    def take(self, step: int, lr: float) -> tuple[Tensor, Tensor]:
        """Take an optimizer step; return the mean loss per token and the gradient's norm."""
        model = self.model
        total = self._gradient(step * self.windows, self.windows)
        norm = clip_gradient(model.gradient, self.trial.clip)
        for group, part in zip(self.optimizer.param_groups, self._parts, strict=True):
            group["lr"] = lr * part.lr
        self.optimizer.step()
        return total, norm

    def shrink(self, micro: int) -> None:
        """Let at most ``micro`` windows pass at a time from now on."""
        if micro < self.micro:
            self.micro, self.shrunk, self.code = micro, True, None

    @property
    def note(self) -> str:
        """Say that the memory was too small for the micro-batch given, if it was."""
        if not self.shrunk:
            return ""
        tokens = self.micro * self.model.shape.context
        return (
            f"ran out of memory: went on with {tokens:,} tokens at a time (the same gradient "
            "summed from more parts, equal to rounding)"
        )

    @property
    def waited(self) -> float:
        """Seconds spent waiting for data so far."""
        return self.batches.waited

    def metrics(self) -> dict[str, float]:
        """Return the tokens that passed at a time where memory decided it, and if it compiled."""
        told = {"compiled": 1.0} if self.code else {}
        if self.shrunk:
            told["micro_tokens"] = self.micro * self.model.shape.context
        return told

    def other_norm(self, step: int) -> Tensor:
        """Return the gradient's norm on the batch that the coming step does not take itself."""
        self._gradient(step * self.windows, self._other)
        norm: Tensor = torch.linalg.vector_norm(self.model.gradient)
        return norm

    @property
    def _other(self) -> int:
        return 1 if self.windows > 1 else LEAST_BIG

    def measured_metrics(self, steps: Collection[int]) -> dict[str, float]:
        """Return the tokens of the small and the big batch, and what measuring cost besides."""
        context = self.model.shape.context
        small, big = sorted((self.windows, self._other))
        extra = len(steps) * self._other * context
        return {
            "batch_small": small * context,
            "batch_big": big * context,
            "measured_tokens": extra,
        }

    def measured_steps(self) -> frozenset[int]:
        """Return the steps to measure at, evenly over the trial; a function of the trial alone."""
        begin = self.trial.fork_at // self.trial.batch_tokens
        end = min(self.trial.steps, (len(self.batches) - self._other) // self.windows + 1)
        affordable = int(MEASURED_SHARE * (end - begin) * self.windows / self._other)
        count = min(MEASUREMENTS, affordable)
        return frozenset(begin + (end - begin) * (2 * i + 1) // (2 * count) for i in range(count))

    def _gradient(self, first: int, count: int) -> Tensor:
        """Leave the mean gradient of ``count`` windows in the model; return their mean loss."""
        while True:
            try:
                return self._accumulate(first, count)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error) or min(self.micro, count) == 1:
                    raise
            self.shrink(min(self.micro, count) // 2)
            if self.model.flat.is_cuda:
                torch.cuda.empty_cache()

    def _accumulate(self, first: int, count: int) -> Tensor:
        model = self.model
        windows = torch.from_numpy(self.batches.at(first, count))
        windows = windows.to(model.flat.device, non_blocking=True)
        if self.code and count == self.windows:
            try:
                return self.code(model, windows)
            except Exception as error:
                if self.code.ready or out_of_memory(error):
                    raise
                self.code.give_up(error)
                self.code = None
        total = torch.zeros((), device=model.flat.device)
        model.gradient.zero_()
        for part in torch.split(windows, self.micro):
            with torch.autocast(windows.device.type, torch.bfloat16, enabled=self.bf16):
                loss = model.losses(part).sum() / (count * model.shape.context)
            torch.autograd.backward(loss)
            total += loss.detach()
        return total
