"""Page one: what to train, what it will give and cost, how far to trust it, what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from planner.decide.decision import Decision
from planner.plan.plan import Alternative, Plan
from planner.report import text
from planner.report.content import Block, Paragraph, Section, Table, bullets
from planner.report.study import ReportInput

NAMES: Mapping[str, str] = {
    "params": "Model size",
    "shape": "Shape",
    "tokens": "Training tokens",
    "batch_tokens": "Batch",
    "lr": "Peak learning rate",
    "warmup_tokens": "Warmup",
    "schedule": "Schedule",
    "momentum": "Momentum",
    "weight_decay": "Weight decay",
    "beta2": "Adam beta2",
    "clip": "Gradient clipping",
    "loss": "Expected loss",
    "accuracy": "Expected accuracy",
    "epochs": "Epochs",
    "steps": "Steps",
}
"""How decisions are called on the page; any other keeps its own name."""
COUNTED = ("parameters", "tokens", "nats", "passes", "images")
"""Units that read on after their number; any other stands in brackets."""


def first_page(study: ReportInput) -> tuple[Section, ...]:
    """Return the sections of page one, in reading order."""
    plan = study.plan
    return (
        Section("Why this verdict", _verdict(study)),
        Section("Recommended configuration", (_configuration(plan),)),
        Section("Sizes that do nearly as well", _flat(plan)),
        Section("What would change the answer", (_changes(plan),)),
        Section("The next best experiment", (_next(plan),)),
        Section("What was not checked", (_not_checked(plan),)),
    )


def outcome(study: ReportInput) -> str:
    """Say in one sentence how the written prediction of the held-out rung fared."""
    judged, prediction = study.plan.held_out, study.prediction
    rung = (
        f"the held-out rung at {text.flops(prediction.flops)}"
        if prediction
        else "the held-out rung"
    )
    if judged is None and prediction is None:
        return "No held-out rung was run: the law was never tested on runs larger than its own."
    if judged is None:
        return f"The losses of {rung} were predicted; it has not been trained."
    errors = ", ".join(f"{error:+.2f} %" for error in judged["error_percent"])
    where = "inside" if judged["inside90"] else "outside"
    widened = (
        f" Every interval in this report was widened by {text.times(judged['widen'])} for it."
        if judged["widen"] > 1
        else ""
    )
    return (
        f"Predicted before it was trained, {rung} came out {where} the 90 % interval (predicted "
        f"minus measured, by size: {errors} of the loss), and {_winner(judged)}.{widened}"
    )


def _winner(judged: Mapping[str, Any]) -> str:
    """Say how the size that was to win did; within twice the noise of a run it ties."""
    if steps := judged["winner_steps_off"]:
        return f"the winner is {text.plural(steps, 'size')} off"
    won = judged["winner_measured"] == judged["winner_predicted"]
    return "the predicted size won" if won else "the predicted size tied with the best within noise"


def _verdict(study: ReportInput) -> tuple[Block, ...]:
    reach = study.plan.extrapolation
    extrapolation = (
        f"The planned run has {text.times(reach.ratio)} the compute of the largest run the law was "
        f"fitted to ({text.flops(reach.target_flops)} against "
        f"{text.flops(reach.largest_fitted_flops)}): {reach.colour.value}."
    )
    rules = [
        (f"{rule.name} ({rule.verdict.value}):", text.sentence(rule.sentence))
        for rule in study.plan.rules
    ]
    return (
        bullets(rules) if rules else Paragraph("No rule fired against it."),
        Paragraph(extrapolation, "Reach."),
        Paragraph(outcome(study), "Prediction against measurement."),
    )


def _configuration(plan: Plan) -> Table:
    head = ("What", "Recommended", "90 % interval", "Why")
    return Table(head, tuple(_row(decision) for decision in plan.decisions))


def _row(decision: Decision) -> tuple[str, str, str, str]:
    rests = f" Rests on {text.plural(len(decision.evidence), 'run')}." if decision.evidence else ""
    return (
        _name(decision),
        _value(decision),
        text.interval(decision.estimate),
        text.sentence(decision.reason) + rests,
    )


def _name(decision: Decision) -> str:
    return NAMES.get(decision.name, decision.name.replace("_", " "))


def _value(decision: Decision) -> str:
    """Write what to type; a label leads where it is the choice, and follows where it explains."""
    number, unit = text.chosen(decision.estimate.value), decision.unit
    if decision.label and decision.estimate.low == decision.estimate.high:
        return f"{decision.label} ({unit}: {number})" if unit else decision.label
    if unit.startswith(COUNTED):
        number = f"{number} {unit}"
    elif unit and unit != _name(decision).lower():
        number = f"{number} ({unit})"
    return f"{number}: {decision.label}" if decision.label else number


def _flat(plan: Plan) -> tuple[Block, ...]:
    low, high = (text.count(params) for params in plan.flat_region_params)
    flat = (
        f"Sizes from {low} to {high} parameters ({plan.n_convention}) reach the same loss for at "
        "most 5 % more compute; choose among them by what is cheaper to serve or easier to run."
    )
    if not plan.alternatives:
        return (Paragraph(flat),)
    priced = any(one.usd is not None for one in plan.alternatives)
    head = ("Alternative", "Parameters", "Tokens", "FLOPs", "Loss (nats per token)")
    rows = tuple(_alternative(one, priced=priced) for one in plan.alternatives)
    return Paragraph(flat), Table((*head, "Cost", "Why") if priced else (*head, "Why"), rows)


def _alternative(one: Alternative, *, priced: bool) -> tuple[str, ...]:
    cost = () if not priced else ("not known" if one.usd is None else f"${text.number(one.usd)}",)
    return (
        one.name,
        text.count(one.params),
        text.count(one.tokens),
        text.power_of_ten(one.flops),
        text.estimate(one.loss_nats),
        *cost,
        text.sentence(one.why),
    )


def _changes(plan: Plan) -> Block:
    if not plan.what_would_change:
        return Paragraph("The doubt could not be divided among its sources.")
    order = [share.quantity for share in plan.what_would_change]
    shares = sorted(plan.what_would_change, key=lambda s: (order.index(s.quantity), -s.share))
    rows = tuple((s.quantity, s.what, text.percent(s.share)) for s in shares)
    return Table(("Quantity", "Source of doubt", "Share of its variance"), rows)


def _next(plan: Plan) -> Block:
    best = plan.next_experiment
    if best is None:
        return Paragraph("No experiment was found that would narrow the answer for its price.")
    return Paragraph(
        f"{text.sentence(best.what)} It costs {text.flops(best.cost_flops)} and is expected to "
        f"take {text.percent(best.expected_shrink)} off the width of the interval of "
        f"{NAMES.get(best.quantity, best.quantity).lower()}."
    )


def _not_checked(plan: Plan) -> Block:
    if not plan.not_checked:
        return Paragraph("Nothing was left out.")
    return bullets([text.sentence(one) for one in plan.not_checked])
