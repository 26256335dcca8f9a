"""A proxy that trains nothing: losses come from a planted truth plus noise, milliseconds a trial.

    loss = truth(N, D, lr, B, warmup) + noise * z,   z ~ N(0, 1) seeded by the content of the trial

For trying out a search space, for tests, and for benchmarks that must know the right answer
(:attr:`SyntheticProxy.truth`). Runs that never decay end higher; a learning rate far above the
optimum diverges; a fork needs its trunk's folder, as with a real trainer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from planner.errors import SpaceError
from planner.proxies._planted import (
    BatchBasin,
    Curvature,
    Drift,
    LossLaw,
    LrBasin,
    Truth,
    Warmup,
)
from planner.proxies._schedule import learning_rates
from planner.proxy import Context, Outcome
from planner.run import Status, Trial
from planner.shape import ModelShape, ShapeFamily, Size, size_from_mapping

VERSION = 1
VOCAB = 256
CONTEXT = 128
HEAD_DIM = 16

UNDECAYED = 0.12
"""Nats a run at full learning rate sits above its decayed self; about what byte models show."""

START = math.log(VOCAB)
"""Loss of a model that knows nothing."""

POINTS = 20
"""Points of a training curve."""

FINDER_POINTS = 200
"""Points of an LR range test."""

EDGE = 4.0
"""The range test blows up at this multiple of lr* at the reference horizon."""


class SyntheticProxy:
    """A planted law with lr, batch and warmup basins. ``data`` is not read.

    Every option is a mapping of numbers, see ``proxies/_planted.py``; ``noise`` is the standard
    deviation between seeds in nats, ``seed`` draws another study from the same truth. Sizes are
    {params} or {width, depth}.
    """

    capabilities = frozenset({"fork", "resume", "finder"})

    def __init__(  # noqa: PLR0913 - the options of the YAML, all by name
        self,
        data: Mapping[str, Any],
        *,
        law: Mapping[str, float] | None = None,
        lr: Mapping[str, float] | None = None,
        batch: Mapping[str, float] | None = None,
        curvature: Mapping[str, float] | None = None,
        warmup: Mapping[str, float] | None = None,
        drift: Mapping[str, float] | None = None,
        noise: float = 0.004,
        seed: int = 0,
    ) -> None:
        del data
        self.truth = Truth(
            LossLaw.read("law", law),
            LrBasin.read("lr", lr),
            BatchBasin.read("batch", batch),
            Curvature.read("curvature", curvature),
            Warmup.read("warmup", warmup),
            Drift.read("drift", drift),
        )
        if not noise >= 0:
            raise SpaceError(f"proxy synthetic: `noise` is {noise}; it must not be negative")
        self.noise, self.seed = float(noise), int(seed)

    def size(self, shape: Mapping[str, Any]) -> Size:
        """Return the stated size, or the size of the transformer of {width, depth}."""
        return self.model_shape(shape).size if "width" in shape else size_from_mapping(shape)

    def model_shape(self, shape: Mapping[str, Any]) -> ModelShape:
        """Return the transformer of {width, depth}, or the buildable one nearest to {params}."""
        family = ShapeFamily(vocab=VOCAB, context=CONTEXT, head_dim=HEAD_DIM)
        if "width" in shape:
            return family.at_width(int(shape["width"]), shape.get("depth"))
        return family.near(size_from_mapping(shape).params_matmul)

    def recipe(self) -> Mapping[str, Any]:
        """Return the planted truth, the noise and the seed."""
        return {
            "proxy": "synthetic",
            "version": VERSION,
            "truth": asdict(self.truth),
            "noise": self.noise,
            "seed": self.seed,
        }

    def expected_loss(self, trial: Trial) -> float:
        """Return the decayed loss of a trial without noise, nats per token."""
        params = self.size(trial.shape).params_matmul
        return float(self.truth.best_loss(params, trial.tokens)) + self.truth.penalty(trial, params)

    def train(self, trial: Trial, ctx: Context) -> Outcome:
        """Report a curve and return the planted loss; diverge or fail as a real run would."""
        if trial.schedule.name == "finder":
            return self._range_test(trial, ctx)
        if trial.parent is not None and not _state(ctx.parent, trial.fork_at):
            note = f"the trunk {trial.parent} left no state at {trial.fork_at} tokens"
            return Outcome(Status.FAILED, math.nan, math.nan, trial.fork_at, note)
        params = self.size(trial.shape).params_matmul
        best = float(self.truth.best_lr(params, trial.tokens, trial.batch_tokens))
        diverges = trial.lr > self.truth.lr.diverges * best
        end = trial.fork_at + trial.new_tokens // 4 if diverges else trial.tokens
        self._report_curve(trial, ctx, end)
        if diverges:
            note = f"diverged at {end} tokens with learning rate {trial.lr:g}"
            return Outcome(Status.DIVERGED, math.nan, math.nan, end, note)
        ctx.checkpoint_dir.mkdir(parents=True, exist_ok=True)
        for tokens in trial.keep_at:
            (ctx.checkpoint_dir / f"tokens-{tokens}").touch()
        loss = self.expected_loss(trial) + self._noise(trial) + _undecayed(trial, trial.tokens)
        return Outcome(Status.DONE, loss, 0.0, trial.tokens)

    def _noise(self, trial: Trial) -> float:
        seed = int(trial.key({"synthetic": self.seed}), 16)
        return self.noise * float(np.random.default_rng(seed).standard_normal())

    def _report_curve(self, trial: Trial, ctx: Context, end: int) -> None:
        params = self.size(trial.shape).params_matmul
        penalty, rates = self.truth.penalty(trial, params), learning_rates(trial)
        for tokens in np.linspace(trial.fork_at, end, POINTS + 1)[1:].astype(int):
            loss = float(self.truth.best_loss(params, float(tokens))) + penalty
            loss = min(loss + _undecayed(trial, int(tokens)), START)
            step = max(1, int(tokens) // trial.batch_tokens)
            ctx.report(tokens=int(tokens), loss=loss, lr=float(rates[step - 1]))

    def _range_test(self, trial: Trial, ctx: Context) -> Outcome:
        """Raise lr geometrically: the loss falls most steeply at lr*, and blows up at the edge."""
        params = self.size(trial.shape).params_matmul
        best = float(self.truth.best_lr(params, self.truth.lr.tokens, trial.batch_tokens))
        rates = np.geomspace(trial.lr * trial.schedule.final_lr_ratio, trial.lr, FINDER_POINTS)
        fall = 2.5 / (1.0 + (best / rates) ** 1.5)
        blow = 4.0 * np.log(np.maximum(rates / (EDGE * best), 1.0)) ** 2
        noise = np.random.default_rng(int(trial.key({"synthetic": self.seed}), 16))
        losses = START - fall + blow + self.noise * noise.standard_normal(FINDER_POINTS)
        tokens = np.linspace(0, trial.tokens, FINDER_POINTS + 1)[1:].astype(int)
        for at, rate, loss in zip(tokens, rates, losses, strict=True):
            ctx.report(tokens=int(at), loss=float(loss), lr=float(rate))
        return Outcome(Status.DONE, math.nan, math.nan, trial.tokens)


def _state(parent: Path | None, tokens: int) -> bool:
    """Say whether a trunk left its state at ``tokens``."""
    return parent is not None and (parent / f"tokens-{tokens}").is_file()


def _undecayed(trial: Trial, tokens: int) -> float:
    """Return what the learning rate still in use at ``tokens`` keeps the loss above its floor."""
    name, ratio = trial.schedule.name, trial.schedule.decay_ratio
    if name == "constant" or (name == "wsd" and ratio == 0):
        return UNDECAYED
    decay = trial.tokens * (ratio if name == "wsd" else 1.0)
    return UNDECAYED * min(1.0, (trial.tokens - tokens) / decay)
