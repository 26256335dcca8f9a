"""Train one model along one trial: reports, checkpoints, forks, and when to give up.

A run has diverged (science G8) when a loss is not finite, or when for ``PATIENCE`` steps on end

    loss > lowest + max((first - lowest) / 2, 1 nat),      lowest = the lowest mean of a report

The losses of the steps stay on the device between two reports, where all of them are looked at.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from planner.proxies import _checkpoint
from planner.proxies._device import DeviceMeter
from planner.proxies._schedule import learning_rates
from planner.proxies._stepper import Stepper
from planner.proxy import Context, Preempted

PATIENCE = 20
"""Steps a loss must stay above the limit: science G8."""

REPORTS = 100
"""Reports of a run; a finder's curve needs at least 300 points (science A1)."""

FINDER_REPORTS = 400
CHECKPOINTS = 4
"""A trial saves its state after every quarter of its new tokens ..."""

CHECKPOINT_STEPS = 1_000
"""... unless it is shorter than this ..."""

SAVE_SECONDS, SAVE_SHARE = 60.0, 0.05
"""... and at the first report so long after the last save, or later where saving itself takes more
than this share of the time. When it saves never changes what it saves."""

WAIT_SECONDS, WAIT_SHARE = 10.0, 0.05
"""Waiting for data is worth a note when it took so long, and this share of the training."""


@dataclass
class Monitor:
    """What divergence is judged by: the first loss, the lowest mean, the run above the limit."""

    first: float = math.nan
    lowest: float = math.inf
    above: int = 0

    def see(self, losses: list[float]) -> int:
        """Take in the losses of some steps; return which of them, from 1, ends the run, or 0."""
        if math.isnan(self.first):
            self.first = losses[0]
        broken = [step for step, loss in enumerate(losses, 1) if not math.isfinite(loss)]
        if broken:
            return broken[0]
        # Judged by what came before: a fast first descent is no rise seen from its end.
        limit = self.lowest + max((self.first - self.lowest) / 2, 1.0)
        for step, loss in enumerate(losses, 1):
            self.above = self.above + 1 if loss > limit else 0
            if self.above >= PATIENCE:
                return step
        self.lowest = min(self.lowest, sum(losses) / len(losses))
        return 0


@dataclass
class Training:
    """One trial under way. At the steps ``measured`` two gradients' norms join the curve.

    ``trouble`` says what ended the run early, ``note`` what went wrong and was got over; ``losses``
    and ``norms`` are those of the steps since the last report.
    """

    stepper: Stepper
    ctx: Context
    measured: frozenset[int] = frozenset()
    step: int = 0
    monitor: Monitor = field(default_factory=Monitor)
    reports: list[dict[str, float]] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    norms: list[Tensor] = field(default_factory=list)
    trouble: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        self.model, self.trial = self.stepper.model, self.stepper.trial
        self.optimizer = self.stepper.optimizer
        self.rates = learning_rates(self.trial)
        self.meter = DeviceMeter(str(self.model.flat.device))
        self._saved, self._saving = time.monotonic(), 0.0
        self._seconds = self._waited = 0.0

    def run(self) -> str:
        """Train to the end; return what stopped the run before it, or nothing."""
        stops, saves, kept = self.stops()
        while self.step < self.trial.steps and not self.trouble:
            stop = min(s for s in stops if s > self.step)
            try:
                self._advance(stop)
            except Preempted:
                self.save()
                raise
            if self.trouble:
                break
            if stop in kept:
                self._keep(stop * self.trial.batch_tokens)
            if stop in saves or self.due():
                self.save()
        return self.trouble

    def stops(self) -> tuple[list[int], set[int], set[int]]:
        """Return the steps to report at, those to save at, and those a trunk keeps."""
        trial, batch = self.trial, self.trial.batch_tokens
        start, end = trial.fork_at // batch, trial.steps
        reports = FINDER_REPORTS if trial.schedule.name == "finder" else REPORTS
        every = max(1, (end - start) // reports)
        kept = {tokens // batch for tokens in trial.keep_at}
        saves: set[int] = set()
        if end - start >= CHECKPOINT_STEPS:
            saves = {start + (end - start) * i // CHECKPOINTS for i in range(1, CHECKPOINTS)}
        return sorted({*range(start + every, end, every), end} | kept | saves), saves, kept

    def _advance(self, stop: int) -> None:
        """Train up to step ``stop`` and report; a run that diverged is left with its trouble."""
        begin, batch = time.perf_counter(), self.trial.batch_tokens
        pairs: list[tuple[Tensor, Tensor]] = []
        for step in range(self.step, stop):
            if not self.measured:
                self.ctx.give_way(step * batch)
            other = self.stepper.other_norm(step) if step in self.measured else None
            loss, norm = self.stepper.take(step, float(self.rates[step]))
            self.losses.append(loss)
            self.norms.append(norm)
            self.step = step + 1
            if other is not None:
                pairs.append((norm, other))
        self.tell(begin, pairs)

    def tell(self, begin: float, pairs: Collection[tuple[Tensor, Tensor]] = ()) -> None:
        """Report ``losses`` and ``norms``, those of the steps taken since ``begin``."""
        batch, rates, stop = self.trial.batch_tokens, self.rates, self.step
        loss, norm = torch.stack(self.losses), torch.stack(self.norms)
        done = stop - len(loss)
        self.losses, self.norms = [], []
        if at := self.monitor.see(loss.tolist()):
            self.trouble = (
                f"diverged by {(done + at) * batch:,} tokens at a learning rate of "
                f"{rates[done + at - 1]:.3g}: loss {float(loss[at - 1]):.3g} after a lowest of "
                f"{self.monitor.lowest:.3g}"
            )
        if self.trouble and self.trial.schedule.name != "finder":
            return
        clipped = float((norm > self.trial.clip).float().mean()) if self.trial.clip > 0 else 0.0
        seconds = time.perf_counter() - begin
        self._seconds, waited = self._seconds + seconds, self.stepper.waited
        told = {
            "loss": float(loss.mean()),
            "lr": float(rates[stop - 1]),
            "grad_norm": float(norm.mean()),
            "clip_share": clipped,
            "tokens_per_second": (stop - done) * batch / seconds,
            "loader_wait": (waited - self._waited) / seconds,
            **self._noise(pairs),
        }
        self._waited = waited
        self.reports.append({"tokens": stop * batch, **told})
        self.meter.look()
        self.ctx.report(tokens=stop * batch, **told)

    @property
    def loader_note(self) -> str:
        """Say that training waited for its data, where it did so for long."""
        waited = self.stepper.waited
        if not self._seconds or waited < max(WAIT_SECONDS, WAIT_SHARE * self._seconds):
            return ""
        return (
            f"waited {waited / self._seconds:.0%} of its time for data: a faster disk, a larger "
            "`cache:`, or shards on this machine would help"
        )

    def _noise(self, pairs: Collection[tuple[Tensor, Tensor]]) -> dict[str, float]:
        """Return the mean squared norms of (the step's, the other batch's) gradients, if any."""
        if not pairs:
            return {}
        own, other = (float((torch.stack(norms) ** 2).mean()) for norms in zip(*pairs, strict=True))
        small, big = (other, own) if self.stepper.windows > 1 else (own, other)
        return {"grad_sq_small": small, "grad_sq_big": big}

    def due(self) -> bool:
        """Say whether it is time to save."""
        wait = max(SAVE_SECONDS, self._saving / SAVE_SHARE)
        return self.step < self.trial.steps and time.monotonic() - self._saved >= wait

    def _keep(self, tokens: int) -> None:
        """Leave the state for forks; without it they could not be trained."""
        path = _checkpoint.kept_file(self.ctx.checkpoint_dir, tokens)
        _checkpoint.save(path, self._state(), self.trial)

    def save(self) -> None:
        """Save all that the rest of the run depends on; a disk that refuses costs only safety."""
        began = time.monotonic()
        more = {"reports": self.reports, "trouble": self.trouble, "micro": self.stepper.micro}
        more |= {"losses": self.losses, "norms": self.norms} if self.losses else {}
        try:
            path = _checkpoint.resume_file(self.ctx.checkpoint_dir)
            _checkpoint.save(path, self._state() | more, self.trial)
        except OSError as error:
            self.note = f"its state could not be saved at step {self.step:,}: {error.strerror}"
        self._saved = time.monotonic()
        self._saving = self._saved - began

    def _state(self) -> dict[str, Any]:
        return {
            "flat": self.model.flat,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "monitor": asdict(self.monitor),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state: a trunk's, or this trial's own with its curve so far."""
        self.model.flat.copy_(state["flat"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        self.monitor = Monitor(**state["monitor"])
        if "reports" not in state:
            return
        self.reports, self.trouble = list(state["reports"]), state["trouble"]
        self.losses, self.norms = state.get("losses", []), state.get("norms", [])
        self.stepper.shrink(state["micro"])
        for point in self.reports:
            told = {name: value for name, value in point.items() if name not in ("tokens", "loss")}
            self.ctx.report(tokens=int(point["tokens"]), loss=point["loss"], **told)
        self.ctx.resumed(self.step * self.trial.batch_tokens)
