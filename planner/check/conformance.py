"""Whether a proxy keeps what the sweep builds on: tiny trials, each looked at from one side.

    size      finite, the same twice, FLOPs/token >= 5 params_matmul, real parameters within 2 %
    training  reports on the way, all the tokens asked for, a finite loss with its standard error
    control   the same trial twice is the same; another seed, another lr, other tokens are not
    stop      what ``ctx.report`` raises passes through; an absurd lr is an outcome, no exception
    promises  every declared capability: resume and fork end where the whole run does

``planner check --proxy X`` runs it before a sweep does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from planner.check.rehearsal import Rehearsal
from planner.errors import PlannerError
from planner.finding import Finding, Severity
from planner.proxy import Proxy
from planner.run import Schedule, Status, Trial
from planner.shape import Size

STEPS = 40
"""Optimizer steps of a rehearsal: enough to report often and to stop half-way."""

PARAMS_TOLERANCE = 0.02
"""By how much the parameters a trial counted may differ from the stated ones."""

LEAST_FLOPS = 5.0
"""FLOPs per token and matrix parameter: forward and backward take six (contracts section 1)."""

FORK_TOLERANCE = 0.01
"""Share of the loss by which a fork may end beside the whole run: noise, where a proxy has some."""

ABSURD_LR = 1e6
"""Times the trial's learning rate: nothing learns there."""


@dataclass(frozen=True)
class Stage:
    """What the checks are run on: a way to make the proxy anew, a size, lr, batch and a folder."""

    make: Callable[[], Proxy]
    shape: Mapping[str, Any]
    lr: float
    batch_tokens: int
    folder: Path

    @cached_property
    def proxy(self) -> Proxy:
        """The proxy, made once."""
        return self.make()

    @cached_property
    def trial(self) -> Trial:
        """The trial every rehearsal is a variant of."""
        tokens, warmup = STEPS * self.batch_tokens, STEPS // 8 * self.batch_tokens
        half = Schedule("wsd", decay_ratio=0.5)
        return Trial("check", self.shape, tokens, self.batch_tokens, self.lr, warmup, half)

    @cached_property
    def first(self) -> Rehearsal:
        """The plain trial, trained once for all checks."""
        return self.rehearse("first", self.trial)

    def rehearse(
        self, name: str, trial: Trial, *, stop_at: float = math.inf, parent: Path | None = None
    ) -> Rehearsal:
        """Train a trial in a folder of that name."""
        return Rehearsal(self.folder / name, parent, stop_at).run(self.proxy, trial)


def conformance(stage: Stage) -> list[Finding]:
    """Run every check; one finding for each promise that is not kept, or cannot be looked at.

    A proxy that cannot train the plain trial is told so, and nothing built on it is tried.
    """
    try:
        found = [*_size(stage), *_recipe(stage)]
        if stage.first.trouble:
            what = (
                f"The plain trial ({_named(stage.trial)}) came to no loss: {stage.first.trouble}."
            )
            return [*found, _blocking("no-loss", what, stage.first.error[-1500:])]
        later = (_training, _parameters, _control, _stop, _absurd, _resume, _fork, _finder)
        return [*found, *(finding for check in later for finding in check(stage))]
    except PlannerError as error:
        return [_blocking("refused", f"The proxy refuses its own example: {error}")]


def _size(stage: Stage) -> Iterator[Finding]:
    size = stage.proxy.size(stage.shape)
    values = [size.params_matmul, size.params_non_embedding, size.params_total]
    if not all(math.isfinite(v) and v > 0 for v in (*values, size.flops_per_token)):
        yield _blocking("size", f"size() returns {size}: every figure must be positive and finite.")
    elif stage.make().size(stage.shape) != size:
        yield _blocking("size", "size() of one shape differs from call to call.")
    elif size.flops_per_token < LEAST_FLOPS * size.params_matmul:
        yield _warning(
            "flops",
            f"size() states {size.flops_per_token:.3g} FLOPs per token for "
            f"{size.params_matmul:.3g} matrix parameters: a training step takes about 6 a "
            "parameter and token.",
            "count forward and backward; for a mixture of experts state the active parameters",
        )


def _recipe(stage: Stage) -> Iterator[Finding]:
    recipe, again = stage.proxy.recipe(), stage.make().recipe()
    try:
        text = json.dumps(recipe, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        yield _blocking("recipe", f"recipe() is not plain data ({error}).", "return JSON types")
        return
    if text != json.dumps(again, sort_keys=True):
        yield _blocking(
            "recipe",
            "recipe() differs between two instances, so no finished trial would be known again.",
            "leave times, paths of this process and unseeded hashes out of it",
        )


def _training(stage: Stage) -> Iterator[Finding]:
    told, outcome = [point["tokens"] for point in stage.first.reports], stage.first.outcome
    if outcome is None:
        return
    if not told:
        yield _warning(
            "no-reports",
            "The trial never called ctx.report: no curve, no progress, and it cannot be stopped.",
            "report tokens and train loss about a hundred times a trial",
        )
    elif any(b <= a for a, b in pairwise(told)):
        yield _blocking("reports", "The tokens of the reports do not rise from one to the next.")
    if outcome.tokens != stage.trial.tokens:
        yield _blocking(
            "tokens",
            f"The trial asked for {stage.trial.tokens:,} tokens and ended at {outcome.tokens:,}.",
            "train exactly trial.steps steps of trial.batch_tokens",
        )
    if not (math.isfinite(outcome.loss_se) and outcome.loss_se >= 0):
        yield _warning(
            "loss-se",
            f"loss_se is {outcome.loss_se}: nothing says how sure the evaluation is.",
            "state the standard error of the evaluation set's mean loss, 0 if it is exact",
        )


def _parameters(stage: Stage) -> Iterator[Finding]:
    outcome, size = stage.first.outcome, stage.proxy.size(stage.shape)
    counted = float(outcome.metrics.get("params", math.nan)) if outcome else math.nan
    if math.isnan(counted):
        yield _info(
            "params-unseen",
            "The trial's metrics hold no `params`, so the stated size could not be held against "
            "the model.",
            "put the number of parameters that were trained into Outcome.metrics",
        )
    elif not any(abs(counted / stated - 1) <= PARAMS_TOLERANCE for stated in _counts(size)):
        stated_ = ", ".join(f"{stated:.4g}" for stated in _counts(size))
        yield _blocking(
            "params",
            f"The model has {counted:.4g} parameters, size() states {stated_} (matmul, "
            "non-embedding, total): a law over the wrong N plans the wrong model.",
        )


def _control(stage: Stage) -> Iterator[Finding]:
    trial, loss = stage.trial, stage.first.loss
    again = stage.rehearse("again", trial)
    if again.loss != loss:
        yield _warning(
            "not-deterministic",
            f"The same trial ended at {loss:.8g} and at {again.loss:.8g}: a resumed sweep is no "
            "longer the uninterrupted one, and noise is all the plan can see of small effects.",
            "seed initialisation and data order from trial.seed alone",
        )
    variants = {
        "lr": (replace(trial, lr=trial.lr / 4), Severity.BLOCKING),
        "tokens": (replace(trial, tokens=trial.tokens // 2), Severity.BLOCKING),
        "seed": (replace(trial, seed=trial.seed + 1), Severity.WARNING),
    }
    for name, (variant, severity) in variants.items():
        other = stage.rehearse(f"other-{name}", variant)
        if other.trouble:
            yield _blocking(f"{name}-fails", f"With another {name} {other.trouble}.")
        elif other.loss == again.loss == loss:
            what = f"Another {name} gives the same loss, {loss:.8g}: the trainer does not read it."
            yield Finding(f"proxy-{name}-ignored", severity, what, f"hand trial.{name} on")


def _stop(stage: Stage) -> Iterator[Finding]:
    half = stage.trial.tokens / 2
    if not any(point["tokens"] >= half for point in stage.first.reports):
        return
    if not stage.rehearse("stop", stage.trial, stop_at=half).stopped:
        yield _blocking(
            "no-stop",
            "ctx.report raised StopTrial, and the trial did not end with it: a diverged or "
            "cancelled trial would burn its whole budget.",
            "let StopTrial pass: no `except Exception` around ctx.report that swallows it",
        )


def _absurd(stage: Stage) -> Iterator[Finding]:
    seen = stage.rehearse("absurd", replace(stage.trial, lr=stage.trial.lr * ABSURD_LR))
    if seen.error or (seen.outcome and seen.outcome.status is Status.FAILED):
        yield _warning(
            "divergence-fails",
            f"At {ABSURD_LR:g} times the learning rate {seen.trouble}: it counts as a failed trial "
            "where a diverged one is a bound the fits can use.",
            "return Outcome(Status.DIVERGED, nan, nan, tokens) or report the infinite loss",
        )


def _resume(stage: Stage) -> Iterator[Finding]:
    if "resume" not in stage.proxy.capabilities:
        yield _info(
            "no-resume",
            "The proxy does not declare `resume`: an interrupted trial starts again from step 0.",
            "save in ctx.checkpoint_dir when ctx.report raises Preempted; load it at the start",
        )
        return
    stage.rehearse("resume", stage.trial, stop_at=stage.trial.tokens / 2)
    rest = stage.rehearse("resume", stage.trial)
    if rest.trouble or rest.loss != stage.first.loss:
        yield _blocking(
            "resume",
            f"Stopped half-way and resumed, the trial ended at {rest.loss:.8g}, uninterrupted at "
            f"{stage.first.loss:.8g}. {rest.trouble}".strip(),
            "save optimizer, step and data position too",
        )
    elif not rest.resumed_at:
        yield _warning(
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
        yield _blocking("fork", what, remedy)
    elif gap:
        yield _warning("fork-differs", what, remedy)


def _finder(stage: Stage) -> Iterator[Finding]:
    if "finder" not in stage.proxy.capabilities:
        return
    schedule = Schedule("finder", final_lr_ratio=1e-4)
    seen = stage.rehearse("finder", replace(stage.trial, schedule=schedule, warmup_tokens=0))
    rates = [point.get("lr", math.nan) for point in seen.reports]
    if seen.error or len(rates) < 2 or not all(b > a for a, b in pairwise(rates)):
        yield _blocking(
            "finder",
            "The proxy declares `finder`, but its range test reports no rising `lr`. "
            f"{seen.error.splitlines()[-1] if seen.error else ''}".strip(),
            "raise lr geometrically from lr * final_lr_ratio to lr, and report it",
        )


def _counts(size: Size) -> tuple[float, float, float]:
    return size.params_matmul, size.params_non_embedding, size.params_total


def _named(trial: Trial) -> str:
    return f"{dict(trial.shape)}, {trial.tokens:,} tokens in {trial.steps} steps, lr {trial.lr:.3g}"


def _blocking(code: str, what: str, remedy: str = "") -> Finding:
    return Finding(f"proxy-{code}", Severity.BLOCKING, what, remedy)


def _warning(code: str, what: str, remedy: str = "") -> Finding:
    return Finding(f"proxy-{code}", Severity.WARNING, what, remedy)


def _info(code: str, what: str, remedy: str = "") -> Finding:
    return Finding(f"proxy-{code}", Severity.INFO, what, remedy)
