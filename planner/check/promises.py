"""Whether a proxy can what it declares: a trial resumed, forked or stacked ends as it should."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

from planner.check.rehearsal import Rehearsal
from planner.check.stage import STEPS, Stage, blocking, info, warning
from planner.finding import Finding
from planner.proxy import StopTrial
from planner.run import Schedule, Trial

FORK_TOLERANCE = 0.01
"""Share of the loss by which a fork may end beside the whole run: noise, where a proxy has some."""

STACK_TOLERANCE = 1e-3
"""Share of the loss by which a stacked trial may end beside the single one: rounding."""


def promises(stage: Stage) -> Iterator[Finding]:
    """Yield every declared capability that is not there."""
    for check in (_resume, _fork, _finder, _stack):
        yield from check(stage)


def _resume(stage: Stage) -> Iterator[Finding]:
    if "resume" not in stage.proxy.capabilities:
        yield info(
            "no-resume",
            "The proxy does not declare `resume`: an interrupted trial starts again from step 0.",
            "save in ctx.checkpoint_dir when ctx.report raises Preempted; load it at the start; of "
            "a command, say with resume_argv what lets it go on from {out}",
        )
        return
    stage.rehearse("resume", stage.trial, stop_at=stage.trial.tokens / 2)
    rest = stage.rehearse("resume", stage.trial)
    if rest.trouble or rest.loss != stage.first.loss:
        yield blocking(
            "resume",
            f"Stopped half-way and resumed, the trial ended at {rest.loss:.8g}, uninterrupted at "
            f"{stage.first.loss:.8g}. {rest.trouble}".strip(),
            "save optimizer, step and data position too",
        )
    elif not rest.resumed_at:
        yield warning(
            "resumes-nothing",
            "The proxy declares `resume`, but after a stop half-way it trained all over again.",
            "save at Preempted, and call ctx.resumed(tokens) when a state was loaded",
        )


def _fork(stage: Stage) -> Iterator[Finding]:
    if "fork" not in stage.proxy.capabilities:
        return
    trial, half = stage.trial, STEPS // 2 * stage.batch_tokens
    constant = Schedule("constant")
    stage.rehearse("trunk", replace(trial, tokens=half, schedule=constant, keep_at=(half,)))
    fork = replace(trial, parent="trunk", fork_at=half)
    branch = stage.rehearse("fork", fork, parent=stage.folder / "trunk")
    gap = abs(branch.loss - stage.first.loss)
    what = (
        f"A cooldown forked off its trunk ended at {branch.loss:.8g}, the whole run at "
        f"{stage.first.loss:.8g}. {branch.trouble}".strip()
    )
    remedy = "start from the state the trunk kept at trial.fork_at, in ctx.parent"
    if not gap <= FORK_TOLERANCE * stage.first.loss:
        yield blocking("fork", what, remedy)
    elif gap:
        yield warning("fork-differs", what, remedy)


def _finder(stage: Stage) -> Iterator[Finding]:
    if "finder" not in stage.proxy.capabilities:
        return
    schedule = Schedule("finder", final_lr_ratio=1e-4)
    seen = stage.rehearse("finder", replace(stage.trial, schedule=schedule, warmup_tokens=0))
    rates = [point.get("lr", math.nan) for point in seen.reports]
    if seen.error or len(rates) < 2 or not all(b > a for a, b in pairwise(rates)):
        yield blocking(
            "finder",
            "The proxy declares `finder`, but its range test reports no rising `lr`. "
            f"{seen.error.splitlines()[-1] if seen.error else ''}".strip(),
            "raise lr geometrically from lr * final_lr_ratio to lr, and report it",
        )


def _stack(stage: Stage) -> Iterator[Finding]:
    if "train_many" not in stage.proxy.capabilities:
        return
    able, trial = cast(Any, stage.proxy), stage.trial
    trials = [trial, replace(trial, seed=trial.seed + 1), replace(trial, lr=trial.lr / 2)]
    keys = {able.stack_key(each, "cpu") for each in trials}
    most = min(able.stack_size(each, "cpu") for each in trials)
    if len(keys) > 1 or None in keys or most < len(trials):
        what = "declares `train_many`, but stacks no three trials of one shape on a CPU"
        yield info("stack-unseen", f"The proxy {what}: nothing could be looked at.")
        return
    alone = [stage.rehearse(f"alone-{i}", each).loss for i, each in enumerate(trials)]
    for stop_at in (math.inf, trial.tokens / 2):
        found = list(_stacked(stage, trials, alone, stop_at))
        yield from found
        if found:
            return


def _stacked(
    stage: Stage, trials: list[Trial], alone: list[float], stop_at: float
) -> Iterator[Finding]:
    """Train a stack whose first trial is stopped at ``stop_at`` tokens."""
    folders = [stage.folder / f"stack-{stop_at:.0f}-{i}" for i in range(len(trials))]
    seen = [Rehearsal(folder) for folder in folders]
    seen[0].stop_at, seen[0].stop_with = stop_at, StopTrial
    stopped = math.isfinite(stop_at)
    try:
        outcomes = cast(Any, stage.proxy).train_many(trials, seen)
        losses = [math.nan if outcome is None else outcome.loss for outcome in outcomes]
    except (Exception, SystemExit) as error:
        when = "when one of its trials was stopped" if stopped else "with three trials"
        yield blocking("stack", f"train_many() raised {error!r:.300} {when}.")
        return
    if len(losses) != len(trials) or (stopped and outcomes[0] is not None):
        yield blocking(
            "stack",
            f"train_many() of {len(trials)} trials returned {outcomes!r:.300}"
            + (", though the first was stopped half-way." if stopped else "."),
            "return an Outcome a trial in their order, None for one whose report raised StopTrial",
        )
        return
    gaps = [abs(a / b - 1) for a, b in zip(losses[stopped:], alone[stopped:], strict=True)]
    if not all(gap <= STACK_TOLERANCE for gap in gaps):
        yield blocking(
            "stack",
            f"Trials stacked ended at {_many(losses[stopped:])}, alone at "
            f"{_many(alone[stopped:])}"
            + (", when the first of the stack was stopped half-way." if stopped else "."),
            "every trial of a stack needs its own data order, clipping and optimizer state",
        )


def _many(losses: list[float]) -> str:
    return ", ".join(f"{loss:.6g}" for loss in losses)
