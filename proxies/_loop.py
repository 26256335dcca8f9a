"""Train one model along one trial: reports, checkpoints, forks, and when to give up.

A run has diverged (science G8) when a loss is not finite, or when for ``PATIENCE`` steps on end

    loss > lowest + max((first - lowest) / 2, 1 nat),      lowest = the lowest mean of a report

The losses of the steps stay on the device between two reports, where all of them are looked at.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from planner.proxies import _checkpoint
from planner.proxies._device import DeviceMeter
from planner.proxies._noise import NoiseScale
from planner.proxies._schedule import learning_rates
from planner.proxy import Context, Outcome, Preempted
from planner.run import Status, Trial

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


class Weights(Protocol):
    """A model whose parameters are one flat tensor."""

    flat: Tensor


class Steps(Protocol):
    """What takes the steps of a trial; ``micro`` is how much passes at a time."""

    micro: int

    @property
    def model(self) -> Weights:
        """The model that is trained."""

    @property
    def trial(self) -> Trial:
        """The trial whose steps these are."""

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """What moves the weights; its state is saved."""

    @property
    def waited(self) -> float:
        """Seconds spent waiting for data."""

    @property
    def note(self) -> str:
        """What went wrong and was got over."""

    def take(self, step: int, lr: float) -> tuple[Tensor, Tensor]:
        """Take a step; return its mean loss and the gradient's norm."""

    def shrink(self, micro: int) -> None:
        """Let at most ``micro`` pass at a time from now on."""

    def metrics(self) -> dict[str, float]:
        """Return what is worth telling of how the steps were taken."""


@dataclass
class Training:
    """One trial under way. Where ``noise`` measures, two gradients' norms join the curve.

    ``trouble`` says what ended the run early, ``note`` what went wrong and was got over; ``losses``
    and ``norms`` are those of the steps since the last report.
    """

    stepper: Steps
    ctx: Context
    noise: NoiseScale | None = None
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
        self._earlier = 0  # steps since the last report that another attempt took

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
            if not self.noise:
                self.ctx.give_way(step * batch)
            other = self.noise.other_norm(step) if self.noise else None
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
            "tokens_per_second": (stop - done - self._earlier) * batch / seconds,
            "loader_wait": (waited - self._waited) / seconds,
        }
        if self.noise and pairs:
            told |= self.noise.squares(pairs)
        self._waited, self._earlier = waited, 0
        self.reports.append({"tokens": stop * batch, **told})
        self.meter.look()
        self.ctx.report(tokens=stop * batch, **told)

    def ended(self, judged: Callable[[int], Outcome]) -> Outcome:
        """Return what came of the trial, with all that is to be told of it.

        ``judged`` is asked about a run that came to its end, given the tokens it has seen. What
        only a restart needs is forgotten.
        """
        seen = self.step * self.trial.batch_tokens
        if self.trial.schedule.name == "finder":
            outcome = Outcome(Status.DONE, math.nan, math.nan, seen, self.trouble)
        elif self.trouble:
            outcome = Outcome(Status.DIVERGED, math.nan, math.nan, seen, self.trouble)
        else:
            outcome = judged(seen)
        _checkpoint.forget(self.ctx.checkpoint_dir)
        notes = self.note, self._loader_note, self.stepper.note, outcome.note
        told = {**outcome.metrics, **self.meter.metrics(), **self.stepper.metrics()}
        if self.noise and self.noise.steps:
            told |= self.noise.metrics()
        return replace(outcome, note="; ".join(filter(None, notes)), metrics=told)

    @property
    def _loader_note(self) -> str:
        """Say that training waited for its data, where it did so for long."""
        waited = self.stepper.waited
        if not self._seconds or waited < max(WAIT_SECONDS, WAIT_SHARE * self._seconds):
            return ""
        return (
            f"waited {waited / self._seconds:.0%} of its time for data: a faster disk, a larger "
            "`cache:`, or shards on this machine would help"
        )

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
        self._earlier = len(self.losses)
        self.stepper.shrink(state["micro"])
        for point in self.reports:
            told = {name: value for name, value in point.items() if name not in ("tokens", "loss")}
            self.ctx.report(tokens=int(point["tokens"]), loss=point["loss"], **told)
        self.ctx.resumed(self.step * self.trial.batch_tokens)
