"""One trial, or a stack of them, from plain data: load the proxy, train, collect the curves.

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
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from threading import Event as Flag
from typing import cast

import numpy as np

from planner._secrets import hide, secrets_of
from planner._spend import PROGRESS_MARKS
from planner.errors import EvidenceError
from planner.proxy import (
    Outcome,
    Preempted,
    Proxy,
    ProxySpec,
    StackingProxy,
    StopTrial,
    load_proxy,
)
from planner.run import Status
from planner.sweep.events import Died, Ended, Job, Progress
from planner.sweep.meter import Meter
from planner.sweep.remote import RemoteError, RemoteFolder, at_fork

PROGRESS_SECONDS = 0.5
"""How often a trial tells of its progress between the marks the ledger stores."""

LEFT = "asked to leave; it saved its state if it can resume"

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
    remote: RemoteFolder | None = None
    device: str = field(init=False)
    begin: int = field(init=False)
    alike: Mapping[int, int] = field(init=False)
    stopped: Outcome | None = None
    left_at: int = 0
    points: list[dict[str, float]] = field(default_factory=list)
    _mark: int = 0
    _told: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.device, self.begin = self.job.device, self.job.trial.fork_at
        self.alike = dict(self.job.alike)

    def report(self, *, tokens: int, loss: float, **values: float) -> None:
        point = {"tokens": tokens, "train_loss": loss} | values
        self.points.append({name: float(value) for name, value in point.items()})
        try:
            self._tell(int(tokens), float(loss))
            if not math.isfinite(loss) and self.job.trial.schedule.name != "finder":
                raise StopTrial(
                    f"the loss became {loss} at {tokens:,} tokens (lr {self.job.trial.lr:.3g})"
                )
        except StopTrial as stop:
            self.stopped = self.without_loss(stop)
            raise
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

    def give_way(self, tokens: int) -> None:
        if self.leave.is_set():
            self.left_at = tokens
            raise Preempted(f"asked to leave at {tokens:,} tokens")

    @property
    def tokens(self) -> int:
        """How far the trial has come."""
        told = int(self.points[-1]["tokens"]) if self.points else self.job.trial.fork_at
        return max(told, self.left_at)

    def without_loss(self, stop: StopTrial) -> Outcome:
        """Return what came of a trial that was stopped."""
        finite = not self.points or math.isfinite(self.points[-1]["train_loss"])
        status = Status.PRUNED if finite else Status.DIVERGED
        return Outcome(status, math.nan, math.nan, self.tokens, str(stop))

    def store_last(self, *, needed: bool) -> None:
        """Store what the trial leaves; only where it is needed is a refusal worth the trial."""
        try:
            if self.remote:
                self.remote.store()
        except RemoteError:
            if needed:
                raise

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
    meter = Meter()
    try:
        with _lodged(job, emit, leave or Flag()) as ctx:
            outcome = _outcome(job, ctx)
            ctx.store_last(needed=outcome is None or bool(job.trial.keep_at))
    except (RemoteError, OSError) as error:
        return Died(job.key, job.attempt, f"its states cannot be kept: {error}")
    return _end(ctx, outcome, meter)


def run_call(
    job: Job, emit: Callable[[Progress], None], leave: Flag | None = None
) -> Sequence[Ended | Died]:
    """Train a job and its stack, and return how each ended.

    Whatever goes wrong with a stack as a whole has nobody to blame: all its trials are Died, and
    will be tried one by one.
    """
    if not job.stack:
        return [run_job(job, emit, leave)]
    leave, meter = leave or Flag(), Meter()
    contexts: list[_Context] = []
    try:
        with ExitStack() as lodgings:
            for one in job.members:
                contexts.append(lodgings.enter_context(_lodged(one, emit, leave)))
            outcomes = _train_many(contexts)
            for ctx in contexts:
                ctx.store_last(needed=bool(ctx.job.trial.keep_at))
    except Preempted:
        note = LEFT
    except (Exception, SystemExit) as error:
        said = "".join(traceback.format_exception_only(error)).strip()
        note = f"its stack of {len(job.members)} gave up: {hide(said, _secrets(job))}"
    else:
        ended = zip(contexts, outcomes, strict=True)
        return [_end(ctx, outcome, meter, stack=len(contexts)) for ctx, outcome in ended]
    came = {ctx.job.key: ctx.tokens for ctx in contexts}
    note = note[-NOTE_CHARACTERS:]
    return [replace(one, note=note, tokens=came.get(one.key, 0)) for one in job.died(note)]


def _end(ctx: _Context, outcome: Outcome | None, meter: Meter, stack: int = 1) -> Ended | Died:
    """Return how a trial ended; of the time of a stack each trial in it has its share."""
    job = ctx.job
    if outcome is None or (ctx.leave.is_set() and outcome.status is Status.FAILED):
        return Died(job.key, job.attempt, LEFT, ctx.tokens, counts=False)
    metrics = meter.metrics(stack * max(0, outcome.tokens - ctx.begin)) | dict(outcome.metrics)
    metrics |= {"resumed_tokens": ctx.begin} if ctx.begin > job.trial.fork_at else {}
    metrics |= {"stack": stack} if stack > 1 else {}
    note = hide(outcome.note, _secrets(job))[-NOTE_CHARACTERS:]
    return Ended(
        job.key,
        job.attempt,
        replace(outcome, metrics=metrics, note=note),
        _curve(ctx.points),
        meter.seconds / stack,
        job.device,
        platform.node(),
    )


@contextmanager
def _lodged(job: Job, emit: Callable[[Progress], None], leave: Flag) -> Iterator[_Context]:
    """Have the trial's folder and its trunk's as they lie on the disk, or at the URLs.

    Raises OSError, RemoteError. What was fetched is gone afterwards.
    """
    folder = Path(job.checkpoint_dir)
    parent = Path(job.parent_dir) if job.parent_dir else None
    if job.remote_dir is None:
        folder.mkdir(parents=True, exist_ok=True)
        yield _Context(job, emit, leave, folder, parent)
        return
    parent = folder.with_name(f"{folder.name}.parent") if job.remote_parent else None
    remote = RemoteFolder(folder, job.remote_dir)
    try:
        remote.fetch()
        if parent and job.remote_parent:
            RemoteFolder(parent, job.remote_parent).fetch(at_fork(job.trial.fork_at))
        yield _Context(job, emit, leave, folder, parent, remote)
    finally:
        for place in filter(None, (folder, parent)):
            shutil.rmtree(place, ignore_errors=True)


def _outcome(job: Job, ctx: _Context) -> Outcome | None:
    """Train; None when the trial was asked to leave and left."""
    try:
        return _train(job, ctx)
    except Preempted:
        return None
    except StopTrial as stop:
        return ctx.without_loss(stop)
    except (Exception, SystemExit):
        return Outcome(Status.FAILED, math.nan, math.nan, ctx.tokens, traceback.format_exc())


def _train(job: Job, ctx: _Context) -> Outcome:
    return _plain(_proxy(json.dumps(asdict(job.proxy))).train(job.trial, ctx), ctx)


def _train_many(contexts: list[_Context]) -> list[Outcome]:
    """Train a stack. Raises whatever gives it up, ValueError for an answer that is none."""
    proxy = cast(StackingProxy, _proxy(json.dumps(asdict(contexts[0].job.proxy))))
    said = proxy.train_many([ctx.job.trial for ctx in contexts], contexts)
    if len(said) != len(contexts):
        raise ValueError(f"train_many returned {len(said)} outcomes for {len(contexts)} trials")
    found = []
    for ctx, outcome in zip(contexts, said, strict=True):
        ended = ctx.stopped if outcome is None else _plain(outcome, ctx)
        if ended is None:
            raise ValueError("train_many returned None for a trial that nothing had stopped")
        found.append(ended)
    return found


def _plain(outcome: Outcome, ctx: _Context) -> Outcome:
    """Return an outcome in plain numbers, a range test's with its bracket."""
    metrics = {name: float(value) for name, value in outcome.metrics.items()}
    if ctx.job.trial.schedule.name == "finder":
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


def _secrets(job: Job) -> Collection[str]:
    return secrets_of(dict(job.proxy.options))


def _bracket(curve: dict[str, list[float]]) -> dict[str, float]:
    """Reduce a range test's curve to the figures the next stage reads."""
    from planner.fit.finder import range_test

    if lacking := [name for name in ("lr", "train_loss") if name not in curve]:
        raise EvidenceError(f"the LR range test reported no {' and no '.join(lacking)}")
    lr, loss, tokens = (np.asarray(curve[name]) for name in ("lr", "train_loss", "tokens"))
    test = range_test(lr, loss, tokens)
    found = {"steep": test.lr_steep, "div": test.lr_div, "low": test.low, "high": test.high}
    return {f"lr_{name}": float(value) for name, value in found.items()}


def _curve(points: list[dict[str, float]]) -> dict[str, list[float]]:
    names = dict.fromkeys(name for point in points for name in point)
    return {name: [point.get(name, math.nan) for point in points] for name in names}
