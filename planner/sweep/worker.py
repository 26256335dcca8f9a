"""One trial from plain data: load the proxy, train, collect the curve, never raise.

An exception of the proxy is an outcome (failed, with its traceback), so that a sweep can go on.
"""

from __future__ import annotations

import json
import math
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from planner._secrets import hide, secrets_of
from planner._spend import PROGRESS_MARKS
from planner.proxy import Outcome, Proxy, ProxySpec, StopTrial, load_proxy
from planner.run import Status
from planner.sweep.events import Ended, Job, Progress

PROGRESS_SECONDS = 0.5
"""How often a trial tells of its progress between the marks the ledger stores."""

NOTE_CHARACTERS = 4000
"""Length of the end of a traceback that is kept."""


@dataclass(slots=True)
class _Context:
    """The ctx of a trial (see :class:`planner.proxy.Context`)."""

    job: Job
    emit: Callable[[Progress], None]
    checkpoint_dir: Path
    parent: Path | None
    device: str
    points: list[dict[str, float]] = field(default_factory=list)
    _mark: int = 0
    _told: float = field(default_factory=time.monotonic)

    def report(self, *, tokens: int, loss: float, **values: float) -> None:
        point = {"tokens": tokens, "train_loss": loss} | values
        self.points.append({name: float(value) for name, value in point.items()})
        self._tell(int(tokens), float(loss))
        if not math.isfinite(loss) and self.job.trial.schedule.name != "finder":
            raise StopTrial(
                f"the loss became {loss} at {tokens:,} tokens (lr {self.job.trial.lr:.3g})"
            )

    def _tell(self, tokens: int, loss: float) -> None:
        trial = self.job.trial
        mark = PROGRESS_MARKS * (tokens - trial.fork_at) // max(trial.new_tokens, 1)
        if mark > self._mark or time.monotonic() - self._told > PROGRESS_SECONDS:
            self._mark, self._told = mark, time.monotonic()
            self.emit(Progress(self.job.key, self.job.attempt, tokens, loss))


def run_job(job: Job, emit: Callable[[Progress], None]) -> Ended:
    """Train a job's trial, telling ``emit`` of its progress, and return how it ended."""
    began = time.monotonic()
    parent = Path(job.parent_dir) if job.parent_dir else None
    ctx = _Context(job, emit, Path(job.checkpoint_dir), parent, job.device)
    try:
        outcome = _train(job, ctx)
    except StopTrial as stop:
        status = Status.PRUNED if _finite(ctx) else Status.DIVERGED
        outcome = _without_loss(ctx, status, str(stop))
    except (Exception, SystemExit):
        outcome = _without_loss(ctx, Status.FAILED, traceback.format_exc())
    secrets = secrets_of(dict(job.proxy.options))
    outcome = replace(outcome, note=hide(outcome.note, secrets)[-NOTE_CHARACTERS:])
    seconds = time.monotonic() - began
    return Ended(job.key, job.attempt, outcome, _curve(ctx.points), seconds, job.device)


def _train(job: Job, ctx: _Context) -> Outcome:
    ctx.checkpoint_dir.mkdir(parents=True, exist_ok=True)
    outcome = _proxy(json.dumps(asdict(job.proxy))).train(job.trial, ctx)
    metrics = {name: float(value) for name, value in outcome.metrics.items()}
    if job.trial.schedule.name == "finder":
        metrics |= _bracket(_curve(ctx.points))
    return replace(
        outcome,
        loss=float(outcome.loss),
        loss_se=float(outcome.loss_se),
        tokens=int(outcome.tokens),
        metrics=metrics,
    )


@lru_cache(maxsize=4)
def _proxy(spec: str) -> Proxy:
    """Make a proxy once per process and spec: it may hold data that is slow to prepare."""
    return load_proxy(ProxySpec(**json.loads(spec)))


def _bracket(curve: dict[str, list[float]]) -> dict[str, float]:
    """Reduce a range test's curve to the figures the next stage reads."""
    from planner.fit.finder import range_test

    lr, loss, tokens = (np.asarray(curve[name]) for name in ("lr", "train_loss", "tokens"))
    test = range_test(lr, loss, tokens)
    found = {"steep": test.lr_steep, "div": test.lr_div, "low": test.low, "high": test.high}
    return {f"lr_{name}": float(value) for name, value in found.items()}


def _without_loss(ctx: _Context, status: Status, note: str) -> Outcome:
    tokens = int(ctx.points[-1]["tokens"]) if ctx.points else ctx.job.trial.fork_at
    return Outcome(status, math.nan, math.nan, tokens, note)


def _finite(ctx: _Context) -> bool:
    return not ctx.points or math.isfinite(ctx.points[-1]["train_loss"])


def _curve(points: list[dict[str, float]]) -> dict[str, list[float]]:
    names = dict.fromkeys(name for point in points for name in point)
    return {name: [point.get(name, math.nan) for point in points] for name in names}
