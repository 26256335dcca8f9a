"""Whether a proxy keeps what the sweep builds on: tiny trials, each looked at from one side.

    size      finite, the same twice, FLOPs/token >= 5 params_matmul, real parameters within 2 %
    training  reports on the way, all the tokens asked for, a finite loss with its standard error
    control   the same trial twice is the same; another seed, another lr, other tokens are not
    stop      what ``ctx.report`` raises passes through; an absurd lr is an outcome, no exception
    promises  every declared capability: resume and fork end where the whole run does

``planner check --proxy X`` runs it before a sweep does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from planner.check.form import form
from planner.check.promises import promises
from planner.check.stage import Stage, blocking, info, warning
from planner.errors import PlannerError
from planner.finding import Finding, Severity
from planner.run import Schedule, Status, Trial
from planner.shape import Size

PARAMS_TOLERANCE = 0.02
"""By how much the parameters a trial counted may differ from the stated ones."""

ABSURD_LR = 1e6
"""Times the trial's learning rate: nothing learns there."""


def conformance(stage: Stage) -> list[Finding]:
    """Run every check; one finding for each promise that is not kept, or cannot be looked at.

    A proxy that cannot train the plain trial is told so, and nothing built on it is tried.
    """
    try:
        found = list(form(stage))
        if any(finding.severity is Severity.BLOCKING for finding in found):
            return found
        if stage.first.trouble:
            what = (
                f"The plain trial ({_named(stage.trial)}) came to no loss: {stage.first.trouble}."
            )
            return [*found, blocking("no-loss", what, stage.first.error[-1500:])]
        later = (_training, _parameters, _control, _unread, _stop, _absurd, promises)
        return [*found, *(finding for check in later for finding in check(stage))]
    except PlannerError as error:
        return [blocking("refused", f"The proxy refuses its own example: {error}")]


def _training(stage: Stage) -> Iterator[Finding]:
    told, outcome = [point["tokens"] for point in stage.first.reports], stage.first.outcome
    if outcome is None:
        return
    if not told:
        yield warning(
            "no-reports",
            "The trial never called ctx.report: no curve, no progress, and it cannot be stopped.",
            "report tokens and train loss about a hundred times a trial; a command prints lines "
            'such as {"step": 8, "loss": 5.1}, or names its log with `reports` or `lines`',
        )
    elif any(b <= a for a, b in pairwise(told)):
        yield blocking("reports", "The tokens of the reports do not rise from one to the next.")
    if outcome.tokens != stage.trial.tokens:
        yield blocking(
            "tokens",
            f"The trial asked for {stage.trial.tokens:,} tokens and ended at {outcome.tokens:,}.",
            "train exactly trial.steps steps of trial.batch_tokens",
        )
    if not (math.isfinite(outcome.loss_se) and outcome.loss_se >= 0):
        yield warning(
            "loss-se",
            f"loss_se is {outcome.loss_se}: nothing says how sure the evaluation is.",
            "state the standard error of the evaluation set's mean loss, 0 if it is exact; a "
            "command prints it as `loss_se` beside `final_loss`",
        )


def _parameters(stage: Stage) -> Iterator[Finding]:
    outcome, size = stage.first.outcome, stage.proxy.size(stage.shape)
    counted = float(outcome.metrics.get("params", math.nan)) if outcome else math.nan
    if math.isnan(counted):
        yield info(
            "params-unseen",
            "The trial's metrics hold no `params`, so the stated size could not be held against "
            "the model.",
            "put the number of parameters that were trained into Outcome.metrics; a command "
            'prints it, {"params": 124e6}',
        )
    elif not any(abs(counted / stated - 1) <= PARAMS_TOLERANCE for stated in _counts(size)):
        stated_ = ", ".join(f"{stated:.4g}" for stated in _counts(size))
        yield blocking(
            "params",
            f"The model has {counted:.4g} parameters, size() states {stated_} (matmul, "
            "non-embedding, total): a law over the wrong N plans the wrong model.",
        )


def _control(stage: Stage) -> Iterator[Finding]:
    trial, loss = stage.trial, stage.first.loss
    again = stage.rehearse("again", trial)
    if again.loss != loss:
        yield warning(
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
            yield blocking(f"{name}-fails", f"With another {name} {other.trouble}.")
        elif other.loss == again.loss == loss:
            what = f"Another {name} gives the same loss, {loss:.8g}: the trainer does not read it."
            yield Finding(f"proxy-{name}-ignored", severity, what, f"hand trial.{name} on")


def _unread(stage: Stage) -> Iterator[Finding]:
    """Name what of a trial changes nothing: the sweep has nothing to say about it then."""
    trial, loss, unread = stage.trial, stage.first.loss, []
    variants = {
        "batch_tokens": replace(trial, batch_tokens=2 * trial.batch_tokens),
        "warmup_tokens": replace(trial, warmup_tokens=4 * trial.warmup_tokens),
        "weight_decay": replace(trial, weight_decay=trial.weight_decay + 1.0),
        "beta2": replace(trial, beta2=0.5),
        "schedule.decay_ratio": replace(trial, schedule=Schedule("wsd", decay_ratio=0.1)),
    }
    for name, variant in variants.items():
        if stage.rehearse(f"other-{name}", variant).loss == loss:
            unread.append(name)
    if unread:
        yield info(
            "unread",
            f"The trainer does not read trial.{', trial.'.join(unread)}: another one gives the "
            f"same loss, {loss:.8g}. What a plan says of it is not tried out.",
            "hand it on, or read the plan with that in mind",
        )


def _stop(stage: Stage) -> Iterator[Finding]:
    half = stage.trial.tokens / 2
    if not any(point["tokens"] >= half for point in stage.first.reports):
        return
    if not stage.rehearse("stop", stage.trial, stop_at=half).stopped:
        yield blocking(
            "no-stop",
            "ctx.report raised StopTrial, and the trial did not end with it: a diverged or "
            "cancelled trial would burn its whole budget.",
            "let StopTrial pass: no `except Exception` around ctx.report that swallows it",
        )


def _absurd(stage: Stage) -> Iterator[Finding]:
    seen = stage.rehearse("absurd", replace(stage.trial, lr=stage.trial.lr * ABSURD_LR))
    if seen.error or (seen.outcome and seen.outcome.status is Status.FAILED):
        yield warning(
            "divergence-fails",
            f"At {ABSURD_LR:g} times the learning rate {seen.trouble}: it counts as a failed trial "
            "where a diverged one is a bound the fits can use.",
            "return Outcome(Status.DIVERGED, nan, nan, tokens) or report the infinite loss",
        )


def _counts(size: Size) -> tuple[float, float, float]:
    return size.params_matmul, size.params_non_embedding, size.params_total


def _named(trial: Trial) -> str:
    return f"{dict(trial.shape)}, {trial.tokens:,} tokens in {trial.steps} steps, lr {trial.lr:.3g}"
