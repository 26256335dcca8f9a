"""One optimizer step of the gpt proxy.

Where the memory does not hold a micro-batch, it is halved until it does and the same gradient is
summed from more parts: equal to rounding, and to the last bit with that micro-batch from the start.
"""

from __future__ import annotations

import torch
from torch import Tensor

from planner.proxies._compile import Code
from planner.proxies._data import Batches
from planner.proxies._model import Gpt
from planner.proxies._optim import clip_gradient, make_optimizer, parts
from planner.run import Trial

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
        total = self.gradient(step * self.windows, self.windows)
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

    def gradient(self, first: int, count: int) -> Tensor:
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
