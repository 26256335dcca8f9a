"""The plan in one line: what to train, what to expect, what it takes, and why to doubt it."""

from __future__ import annotations

from collections.abc import Sequence

from planner.decide.allocate import Allocation
from planner.estimate import Estimate
from planner.plan.plan import Cost, Extrapolation, Rule, Verdict
from planner.plan.verdict import times
from planner.units import format_count, format_gpu_hours, format_interval, format_money


def headline(
    verdict: Verdict,
    rules: Sequence[Rule],
    chosen: Allocation,
    cost: Cost | None,
    reach: Extrapolation,
) -> str:
    """Write the verdict line of page one."""
    shape = chosen.shape
    built = f" (L{shape.layers} d{shape.width})" if shape else ""
    parts = [f"predicted loss {_interval(chosen.loss)} nats/token", *_cost(cost)]
    far = f"{times(reach.ratio)} the compute of the largest fitted run"
    because = f" Because: {rules[0].sentence}" if rules else ""
    return (
        f"{verdict}: train {format_count(chosen.params)}{built} on "
        f"{format_count(chosen.tokens)} tokens: {', '.join(parts)}, 90 % intervals; {far}.{because}"
    )


def _cost(cost: Cost | None) -> list[str]:
    if cost is None:
        return []
    parts = []
    if cost.days and cost.gpus:
        parts.append(f"{_interval(cost.days)} days on {cost.gpus:g} x {cost.gpu}")
    else:
        hours = format_interval(*_three(cost.gpu_hours), format_gpu_hours)
        parts.append(f"{hours} on {cost.gpu}")
    if cost.usd:
        parts.append(format_interval(*_three(cost.usd), format_money))
    return parts


def _interval(estimate: Estimate) -> str:
    return format_interval(*_three(estimate))


def _three(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high
