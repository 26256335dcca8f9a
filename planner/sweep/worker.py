"""One trial from plain data: load the proxy, train, collect the curve, never raise.

An exception of the proxy is an outcome (failed, with its traceback), so that a sweep can go on. One
that is asked to leave, or whose states cannot be fetched or stored, has no outcome: it is tried
again.
"""

from __future__ import annotations

import json
import math
import platform
import shutil
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from threading import Event as Flag

import numpy as np

from planner._secrets import hide, secrets_of
from planner._spend import PROGRESS_MARKS
from planner.proxy import Outcome, Preempted, Proxy, ProxySpec, StopTrial, load_proxy
from planner.run import Status
from planner.sweep.events import Died, Ended, Job, Progress
from planner.sweep.meter import Meter
from planner.sweep.remote import RemoteError, RemoteFolder

PROGRESS_SECONDS = 0.5
"""How often a trial tells of its progress between the marks the ledger stores."""

NOTE_CHARACTERS = 4000
"""Length of the end of a traceback that is kept."""


@dataclass(slots=True)
class _Context:
    """The ctx of a trial (see :class:`planner.proxy.Context`)."""

    job: Job
    emit: Callable[[Progress], None]
    leave: Flag
    checkpoint_dir: Path
    parent: Path | None
    device: str
    remote: RemoteFolder | None = None
    begin: int = 0
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
        if self.remote:
            self.remote.store_if_due()
        self.heed()

    def heed(self) -> None:
        if self.leave.is_set():
            raise Preempted(f"asked to leave at {self.tokens:,} tokens")

    def resumed(self, tokens: int) -> None:
        self.begin = tokens
        loss = self.points[-1]["train_loss"] if self.points else math.nan
        self.emit(Progress(self.job.key, self.job.attempt, tokens, loss, resumed=True))

    @property
    def tokens(self) -> int:
        """How far the trial has come."""
        return int(self.points[-1]["tokens"]) if self.points else self.job.trial.fork_at

    def _tell(self, tokens: int, loss: float) -> None:
        trial = self.job.trial
        mark = PROGRESS_MARKS * (tokens - trial.fork_at) // max(trial.new_tokens, 1)
        if mark > self._mark or time.monotonic() - self._told > PROGRESS_SECONDS:
            self._mark, self._told = mark, time.monotonic()
            self.emit(Progress(self.job.key, self.job.attempt, tokens, loss))


def run_job(job: Job, emit: Callable[[Progress], None], leave: Flag | None = None) -> Ended | Died:
    """Train a job's trial, telling ``emit`` of its progress, and return how it ended.

    Once ``leave`` is set the trial is asked to go at its next report, and is Died unless it ends
    first.
    """
    leave, meter = leave or Flag(), Meter()
    try:
        with _lodged(job) as (parent, remote):
            place = Path(job.checkpoint_dir)
            ctx = _Context(job, emit, leave, place, parent, job.device, remote, job.trial.fork_at)
            outcome = _outcome(job, ctx)
            if remote:
                _store_last(remote, needed=outcome is None or bool(job.trial.keep_at))
    except (RemoteError, OSError) as error:
        return Died(job.key, job.attempt, f"its states cannot be kept: {error}")
    if outcome is None or (leave.is_set() and outcome.status is Status.FAILED):
        note = "asked to leave; it saved its state if it can resume"
        return Died(job.key, job.attempt, note, ctx.tokens, counts=False)
    metrics = meter.metrics(max(0, outcome.tokens - ctx.begin)) | dict(outcome.metrics)
    metrics |= {"resumed_tokens": ctx.begin} if ctx.begin > job.trial.fork_at else {}
    note = hide(outcome.note, secrets_of(dict(job.proxy.options)))[-NOTE_CHARACTERS:]
    return Ended(
        job.key,
        job.attempt,
        replace(outcome, metrics=metrics, note=note),
        _curve(ctx.points),
        meter.seconds,
        job.device,
        platform.node(),
    )


@contextmanager
def _lodged(job: Job) -> Iterator[tuple[Path | None, RemoteFolder | None]]:
    """Have the trial's folder and its trunk's as they lie on the disk, or at the URLs.

    Raises OSError, RemoteError. What was fetched is gone afterwards.
    """
    folder = Path(job.checkpoint_dir)
    if job.remote_dir is None:
        folder.mkdir(parents=True, exist_ok=True)
        yield Path(job.parent_dir) if job.parent_dir else None, None
        return
    parent = folder.with_name(f"{folder.name}.parent") if job.remote_parent else None
    remote = RemoteFolder(folder, job.remote_dir)
    try:
        remote.fetch()
        if parent and job.remote_parent:
            RemoteFolder(parent, job.remote_parent).fetch()
        yield parent, remote
    finally:
        for place in filter(None, (folder, parent)):
            shutil.rmtree(place, ignore_errors=True)


def _store_last(remote: RemoteFolder, *, needed: bool) -> None:
    """Store what a trial leaves; only where it is needed is a refusal worth the trial."""
    try:
        remote.store()
    except RemoteError:
        if needed:
            raise


def _outcome(job: Job, ctx: _Context) -> Outcome | None:
    """Train; None when the trial was asked to leave and left."""
    try:
        return _train(job, ctx)
    except Preempted:
        return None
    except StopTrial as stop:
        status = Status.PRUNED if _finite(ctx) else Status.DIVERGED
        return _without_loss(ctx, status, str(stop))
    except (Exception, SystemExit):
        return _without_loss(ctx, Status.FAILED, traceback.format_exc())


def _train(job: Job, ctx: _Context) -> Outcome:
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
    return Outcome(status, math.nan, math.nan, ctx.tokens, note)


def _finite(ctx: _Context) -> bool:
    return not ctx.points or math.isfinite(ctx.points[-1]["train_loss"])


def _curve(points: list[dict[str, float]]) -> dict[str, list[float]]:
    names = dict.fromkeys(name for point in points for name in point)
    return {name: [point.get(name, math.nan) for point in points] for name in names}
