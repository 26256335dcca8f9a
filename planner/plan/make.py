"""From fits and an objective to a Plan: decide, price, doubt, judge. Pure: no clock, no files.

objective -> size and tokens (allocate) -> hyperparameters -> cost -> findings -> verdict
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from planner.arrays import Floats
from planner.decide.allocate import Allocation, allocate, evaluate
from planner.decide.decision import Decision
from planner.decide.hyper import hyper_decisions
from planner.decide.schedule import ScheduleEvidence, schedule_decision
from planner.decide.sizes import Family
from planner.estimate import Estimate
from planner.finding import Finding
from planner.fit.error_map import ErrorMap
from planner.fit.held_out import Judgement
from planner.fit.hyper_fit import HyperFit
from planner.fit.loss_fit import LossFit
from planner.plan.alternatives import alternatives
from planner.plan.cost import cost_of
from planner.plan.doubts import family_for, lr_finding, min_batch_tokens, plan_findings
from planner.plan.headline import headline
from planner.plan.next_experiment import next_experiment
from planner.plan.objective import Objective
from planner.plan.plan import SCHEMA_VERSION, Plan
from planner.plan.samples import accuracy_decision, on_own_data, passes
from planner.plan.sensitivity import cost_shares, loss_shares
from planner.plan.verdict import decide, extrapolation
from planner.shape import ModelShape
from planner.units import format_count, format_flops

NOT_CHECKED = (
    "memory and parallelism: whether the shape fits the devices",
    "time beside training itself: restarts, evaluation, checkpoints, compilation",
    "the quality of the data, and how well the evaluation loss stands for the use",
)
"""What no plan of this version looks at."""


LOSS_REASON = "One run as the law predicts it"
PLACED = "; what a misplaced learning rate or batch may cost is in the interval."
UNPLACED = ", at a well placed learning rate and batch, which the evidence does not tell."


@dataclass(frozen=True)
class Evidence:
    """What a plan rests on. ``loss`` comes widened if its held-out rung failed.

    ``facts`` names what the proxies were trained with (tokenizer, vocab, context, data,
    parametrization), ``findings`` the doubts from elsewhere, ``provenance`` whatever identifies
    the evidence, the time included; ``accuracy`` maps a classifier's loss to its error rate.
    """

    loss: LossFit
    hyper: HyperFit | None = None
    held_out: Judgement | None = None
    findings: tuple[Finding, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    schedule: ScheduleEvidence = field(default_factory=ScheduleEvidence)
    accuracy: ErrorMap | None = None


def make_plan(evidence: Evidence, objective: Objective, *, family: Family | None = None) -> Plan:
    """Return the plan for an objective; without a family a usual transformer's shape is named.

    Raises UsageError when nothing can be built, EvidenceError when the law has no optimum.
    """
    fit, objective = on_own_data(evidence.loss, objective)
    evidence = replace(evidence, loss=fit)
    buildable = family_for(family, fit)
    chosen = _allocation(fit, objective, buildable)
    least_batch = int(evidence.facts.get("least_batch", min_batch_tokens(buildable)))
    chosen, hypers, losses = _placed(evidence, chosen, least_batch)
    lr = next((d.estimate for d in hypers if d.name == "lr"), None)
    hyper = evidence.hyper
    curvature = hyper.regret(1.0, hyper.depth(chosen.size, chosen.tokens)) if hyper else 0.0
    doubts = plan_findings(fit, objective, chosen, family, evidence.facts)
    misplaced = lr_finding(lr, curvature) if lr else ()
    findings = (*evidence.findings, *fit.findings, *_hyper_findings(evidence), *doubts, *misplaced)
    reach = extrapolation(chosen.flops, fit.range.flops[1])
    verdict, rules = decide(reach, evidence.held_out, fit.status, findings)
    cost = cost_of(chosen.flops, objective.machine) if objective.machine else None
    return Plan(
        schema_version=SCHEMA_VERSION,
        objective=objective.to_json(),
        verdict=verdict,
        rules=rules,
        headline=headline(verdict, rules, chosen, cost, reach),
        shape=chosen.shape.to_json() if chosen.shape else None,
        size=asdict(chosen.size),
        n_convention=fit.n_convention,
        flops=chosen.flops,
        decisions=_decisions(evidence, objective, chosen, hypers, losses),
        flat_region_params=chosen.flat,
        extrapolation=reach,
        alternatives=alternatives(fit, objective, chosen, buildable),
        what_would_change=(*loss_shares(fit, chosen, lr, curvature), *cost_shares(cost)),
        next_experiment=next_experiment(fit, evidence.hyper, chosen, buildable),
        cost=cost,
        held_out=_held_out(evidence.held_out),
        findings=findings,
        not_checked=_not_checked(evidence),
        provenance=evidence.provenance,
    )


def _allocation(fit: LossFit, objective: Objective, family: Family) -> Allocation:
    if objective.flops is not None:
        return allocate(fit, objective.flops, family, objective.caps)
    return evaluate(fit, *objective.given_size, family)


def _placed(
    evidence: Evidence, chosen: Allocation, least_batch: int
) -> tuple[Allocation, tuple[Decision, ...], Floats]:
    """Decide how to train the allocation; its tokens and loss become those of such a run.

    The last of the three are draws (S,) of its loss.
    """
    hyper, schedule = evidence.hyper, evidence.schedule
    if hyper is None:
        known = schedule.identified
        at = np.array([chosen.params]), np.array([chosen.tokens]), np.array([chosen.flops])
        law = evidence.loss.loss_draws(*at, run_noise=True)[:, 0]
        return chosen, (schedule_decision(schedule, chosen.tokens),) if known else (), law
    where = chosen.size, chosen.tokens
    hypers = hyper_decisions(hyper, *where, min_batch_tokens=least_batch, schedule=schedule)
    chosen = _whole_steps(chosen, int(hypers[0].estimate.value))
    losses = _losses_as_placed(evidence.loss, hyper, chosen, hypers)
    method = f"{chosen.loss.method}; regret of lr and batch included"
    return replace(chosen, loss=Estimate.from_draws(losses, method=method)), hypers, losses


def _decisions(
    evidence: Evidence,
    objective: Objective,
    chosen: Allocation,
    hypers: tuple[Decision, ...],
    losses: Floats,
) -> tuple[Decision, ...]:
    unique = evidence.loss.unique_tokens
    return (
        *_size_decisions(objective, chosen, placed=evidence.hyper is not None),
        *accuracy_decision(evidence.accuracy, losses),
        *(passes(unique, chosen, hypers[0].estimate.value) if hypers else ()),
        *hypers,
    )


def _whole_steps(chosen: Allocation, batch_tokens: int) -> Allocation:
    """Cut the tokens to whole optimizer steps, so that the plan's figures are what gets trained."""
    tokens = float(max(1, int(chosen.tokens) // batch_tokens) * batch_tokens)
    old = chosen.tokens_estimate
    around = replace(old, value=tokens, low=min(old.low, tokens), high=max(old.high, tokens))
    return replace(
        chosen,
        tokens=tokens,
        flops=chosen.flops * tokens / chosen.tokens,
        tokens_estimate=Estimate.exactly(tokens, old.method) if old.low == old.high else around,
    )


def _losses_as_placed(
    fit: LossFit, hyper: HyperFit, chosen: Allocation, hypers: tuple[Decision, ...]
) -> Floats:
    """Draw (S,) the loss of one run at the recommended lr and batch, their regret included."""
    value = {decision.name: decision.estimate.value for decision in hypers}
    at = np.array([chosen.params]), np.array([chosen.tokens])
    law = fit.loss_draws(*at, np.array([chosen.flops]), run_noise=True)[:, 0]
    regret = hyper.regret_draws(
        chosen.size, chosen.tokens, value["batch_tokens"], value["lr"], draws=len(law)
    )
    return np.asarray(law + regret, dtype=np.float64)


def _size_decisions(
    objective: Objective, chosen: Allocation, *, placed: bool
) -> tuple[Decision, ...]:
    low, high = (format_count(n, 2) for n in chosen.flat)
    flat = f"{low} to {high} reach the same loss with at most 5 % more compute"
    why = f"The buildable size with the lowest predicted loss for {format_flops(chosen.flops)}"
    if objective.kind == "size":
        why = (
            f"Given; the law's own optimum for {format_flops(chosen.flops)} is "
            f"{format_count(chosen.optimum, 2)}"
        )
    ratio = f"{chosen.tokens / chosen.params:.3g} tokens per parameter."
    return (
        Decision(
            "params",
            chosen.params_estimate,
            "parameters",
            f"{why}; {flat}.",
            label=_shape_label(chosen.shape),
        ),
        Decision("tokens", chosen.tokens_estimate, "tokens", f"What the compute pays for: {ratio}"),
        Decision(
            "loss",
            chosen.loss,
            "nats per token",
            LOSS_REASON + (PLACED if placed else UNPLACED),
        ),
    )


def _shape_label(shape: ModelShape | None) -> str:
    if shape is None:
        return ""
    return (
        f"{shape.layers} layers x {shape.width}, {shape.heads} heads of {shape.head_dim} "
        f"({shape.kv_heads} for keys and values), ffn {shape.ffn}, vocabulary {shape.vocab}, "
        f"context {shape.context}"
    )


def _hyper_findings(evidence: Evidence) -> tuple[Finding, ...]:
    return evidence.hyper.findings if evidence.hyper else ()


def _held_out(judgement: Judgement | None) -> dict[str, Any] | None:
    if judgement is None:
        return None
    finding = judgement.finding.to_json() if judgement.finding else None
    return asdict(judgement) | {"finding": finding}


def _not_checked(evidence: Evidence) -> tuple[str, ...]:
    if evidence.hyper is not None:
        return NOT_CHECKED
    return (
        "learning rate, batch, warmup and weight decay: the evidence holds no sweep of them",
        *NOT_CHECKED,
    )
