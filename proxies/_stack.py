"""Train trials that differ in numbers and seeds alone as one batched model.

Parameters, gradients and moments of K trials are the rows of tensors (K, parameters); the pass of a
single model is batched over them (torch.func.vmap), clipping and AdamW act on whole tensors with a
learning rate, decay and clip norm per row. A trial owns its row: its data order, its reports, when
it has diverged, and the states it saves are those of a trial trained alone, equal to rounding. One
that leaves is not listened to any more; its row is computed on, which costs less than new shapes.

On one core of an EPYC 9004 (bench_proxy_speed) a stack of four takes 2-3 times as long as compiled
trials one by one. Compiling its pass too would gain 1.1-1.2x at 10k parameters and 512 tokens a
step, 1.5x at 128, 1.0x and 1.3x at 33k, for 35 CPU seconds of compiling: at 10k 20 to 50 million
tokens to earn them, where a trial takes one or two. So a CPU trains no stacks.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from planner.proxies._loop import Training
from planner.proxies._optim import adamw, parts
from planner.proxies._stepper import Stepper
from planner.proxy import Context, Preempted, StopTrial

GPU_TOKENS = 65_536
"""Tokens of all trials that pass through a stack at a time on a GPU: a guess, never measured. A
stack that runs out of memory is given up, and its trials are trained alone."""


class _Row(Training):
    """A trial of a stack: what it saves is its row, not the storage the row lies in."""

    def _state(self) -> dict[str, object]:
        state = super()._state()
        optimizer = state["optimizer"]
        for moments in optimizer["state"].values():
            moments |= {name: value.clone() for name, value in moments.items()}
        return {**state, "flat": state["flat"].clone()}


class Stack:
    """The trials of one shape, batch and horizon, in the order they were given."""

    def __init__(self, members: Sequence[tuple[Stepper, Context]]) -> None:
        steppers = [stepper for stepper, _ in members]
        self._steppers, self._first = steppers, steppers[0]
        like = self._first.model.flat
        self.flat = like.new_zeros(len(steppers), len(like))
        self.gradient, self.mean, self.square = (torch.zeros_like(self.flat) for _ in range(3))
        for row, stepper in enumerate(steppers):
            self._adopt(row, stepper)
        self.trainings = [_Row(stepper, ctx) for stepper, ctx in members]
        self._decay = self._column([trial.trial.weight_decay for trial in self.trainings])
        clips = [t.trial.clip if t.trial.clip > 0 else float("inf") for t in self.trainings]
        self._clip = self._column(clips)
        self._betas = [
            self._column([getattr(t.trial, name) for t in self.trainings]).double()
            for name in ("beta1", "beta2")
        ]
        rates = np.stack([training.rates for training in self.trainings], 1)[..., None]
        self._rates = torch.from_numpy(rates).float().to(self.flat.device)
        self._eps = self._first.optimizer.param_groups[0]["eps"]

    def run(self) -> list[_Row]:
        """Train to the end; return the trials that were told to stop. Preempted passes through."""
        stops, saves, _ = self.trainings[0].stops()
        left: list[_Row] = []
        for stop in stops:
            under_way = [t for t in self.trainings if not t.trouble and t not in left]
            if not under_way:
                break
            left += self._advance(stop, under_way)
            for training in under_way:
                if training not in left and (stop in saves or training.due()):
                    training.save()
        return left

    def _advance(self, stop: int, under_way: Sequence[_Row]) -> list[_Row]:
        """Take the steps up to ``stop`` and report them; return those told to stop."""
        begin, taken = time.perf_counter(), list[tuple[Tensor, Tensor]]()
        left = list[_Row]()
        try:
            for step in range(under_way[0].step, stop):
                for training in under_way:
                    training.ctx.give_way(step * training.trial.batch_tokens)
                taken.append(self.take(step))
            self._share_out(taken, under_way)
            taken = []
            for training in under_way:
                if not _told(training, begin):
                    left.append(training)
        except Preempted:
            self._share_out(taken, under_way)
            for training in under_way:
                training.save()
            raise
        return left

    def _share_out(self, taken: Sequence[tuple[Tensor, Tensor]], under_way: Sequence[_Row]) -> None:
        """Give every trial its losses and gradient norms of some steps."""
        if not taken:
            return
        losses, norms = (torch.stack(each, 1).cpu() for each in zip(*taken, strict=True))
        for training in under_way:
            row = self.trainings.index(training)
            training.losses, training.norms = list(losses[row]), list(norms[row])
            training.step += len(taken)
            for state in training.optimizer.state.values():
                state["step"].fill_(training.step)

    def take(self, step: int) -> tuple[Tensor, Tensor]:
        """Take an optimizer step of every trial; return losses and gradient norms, each (K,)."""
        loss = self._pass(step)
        norm = torch.linalg.vector_norm(self.gradient, dim=1)
        self.gradient.mul_((self._clip / norm.unsqueeze(1)).clamp_(max=1.0))
        self._update(step)
        return loss, norm

    def _pass(self, step: int) -> Tensor:
        """Leave the mean gradients in ``gradient``; return the mean losses."""
        first = self._first
        model, count = first.model, first.windows
        taken = [
            torch.from_numpy(stepper.batches.at(step * count, count)) for stepper in self._steppers
        ]
        windows = torch.stack(taken).to(model.flat.device, non_blocking=True)
        self.gradient.zero_()
        total = torch.zeros(len(taken), device=model.flat.device)
        at_once = first.micro if windows.device.type == "cpu" else GPU_TOKENS // model.shape.context
        for part in torch.split(windows, max(1, at_once // len(taken)), dim=1):
            with (
                torch.autocast(windows.device.type, torch.bfloat16, enabled=first.bf16),
                sdpa_kernel(SDPBackend.MATH),  # the fused kernels cannot be batched
            ):
                gradients, losses = torch.func.vmap(model.mean_gradient)(self.flat, part)
            share = part.shape[1] / count
            self.gradient.add_(gradients, alpha=share)
            total += losses * share
        return total

    def _update(self, step: int) -> None:
        """Take AdamW's step, as torch.optim.AdamW does, of every row at its learning rate."""
        lr = self._rates[step]
        fresh1, fresh2 = ((1 - beta).float() for beta in self._betas)
        seen1, seen2 = ((1 - beta ** (step + 1)).float() for beta in self._betas)
        self.mean.lerp_(self.gradient, fresh1)
        self.square.lerp_(self.gradient**2, fresh2)
        size = (self.square / seen2).sqrt_().add_(self._eps)
        move = self.mean / seen1 / size
        for part in parts(self._first.model):
            rates, weights = lr * part.lr, self.flat[:, part.entries]
            if part.decay:
                weights.mul_(1 - rates * self._decay * part.decay)
            weights.sub_(rates * move[:, part.entries])

    def _adopt(self, row: int, stepper: Stepper) -> None:
        """Let a trial's model and optimizer live in their row."""
        model = stepper.model
        model.live_in(self.flat[row], self.gradient[row])
        stepper.optimizer = adamw(model, stepper.trial)
        for group, part in zip(stepper.optimizer.param_groups, parts(model), strict=True):
            stepper.optimizer.state[group["params"][0]] = {
                "step": torch.zeros((), device=self.flat.device),
                "exp_avg": self.mean[row, part.entries],
                "exp_avg_sq": self.square[row, part.entries],
            }

    def _column(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self.flat.device).unsqueeze(1)


def _told(training: Training, begin: float) -> bool:
    """Let a trial report; say whether it may go on. Preempted passes through."""
    try:
        training.tell(begin)
    except Preempted:
        raise
    except StopTrial:
        return False
    return True
