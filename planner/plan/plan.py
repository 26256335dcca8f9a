"""The Plan: everything a person needs to sign, as one frozen record (plan.json).

Units stand in the field names; every estimate is {value, low, high, level, method}, predictive at
90 % unless it says otherwise. ``plan.schema.json`` beside this file is the record's JSON Schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from planner.decide.decision import Decision
from planner.errors import UsageError
from planner.estimate import Estimate
from planner.finding import Finding

SCHEMA_VERSION = "1.0"


class Verdict(StrEnum):
    """What the plan says to do, from best to worst."""

    GO = "GO"
    WARNINGS = "GO WITH WARNINGS"
    NO_GO = "NO-GO"


class Colour(StrEnum):
    """How far a plan reaches beyond the largest proxy (science F4.5)."""

    GREEN = "green"
    AMBER = "amber"
    RED = "red"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of the verdict that fired: its name, what it alone would say, and why."""

    name: str
    verdict: Verdict
    sentence: str


@dataclass(frozen=True, slots=True)
class Extrapolation:
    """Compute of the target over that of the largest run the law was fitted to."""

    target_flops: float
    largest_fitted_flops: float
    ratio: float
    colour: Colour


@dataclass(frozen=True, slots=True)
class Cost:
    """What the run takes. ``mfu_source`` and ``price_source`` say "assumed" where nobody stated it.

    ``usd`` and ``price_usd_per_gpu_hour`` are None where no price is known, ``gpus`` and ``days``
    where nobody said how many devices. Intervals hold the bands of MFU and price, nothing else.
    """

    gpu: str
    gpus: float | None
    gpu_hours: Estimate
    days: Estimate | None
    usd: Estimate | None
    mfu: Estimate
    mfu_source: str
    price_usd_per_gpu_hour: Estimate | None
    price_source: str


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another way to meet the objective, with what it costs and buys."""

    name: str
    why: str
    shape: Mapping[str, Any] | None
    params: float
    tokens: float
    flops: float
    loss_nats: Estimate
    gpu_hours: float | None = None
    usd: float | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """How much of the variance of ``quantity`` (loss, cost) one source of doubt holds (0 to 1)."""

    quantity: str
    what: str
    share: float


@dataclass(frozen=True, slots=True)
class NextExperiment:
    """The cheapest run that would narrow the answer, and by how much it is expected to.

    ``expected_shrink`` is the share of the width of ``quantity``'s interval that would go (0 to 1).
    """

    what: str
    cost_flops: float
    quantity: str
    expected_shrink: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What to train for a budget, what to expect, and how far to trust it.

    ``shape`` is a buildable transformer, or None where the family is a black box. ``size`` counts
    its parameters in every convention and its FLOPs per token; ``n_convention`` says which count
    the law speaks. ``flat_region_params`` holds the sizes that reach the same loss for at most 5 %
    more compute. ``held_out`` sets the written prediction beside what was measured, None without a
    held-out rung. ``decisions`` come in reading order; :meth:`decision` finds one by name.
    """

    schema_version: str
    objective: Mapping[str, Any]
    verdict: Verdict
    rules: tuple[Rule, ...]
    headline: str
    shape: Mapping[str, Any] | None
    size: Mapping[str, float]
    n_convention: str
    flops: float
    decisions: tuple[Decision, ...]
    flat_region_params: tuple[float, float]
    extrapolation: Extrapolation
    alternatives: tuple[Alternative, ...]
    what_would_change: tuple[Share, ...]
    next_experiment: NextExperiment | None
    cost: Cost | None
    held_out: Mapping[str, Any] | None
    findings: tuple[Finding, ...]
    not_checked: tuple[str, ...]
    provenance: Mapping[str, Any]

    def decision(self, name: str) -> Decision:
        """Return the decision of a name; KeyError when the plan takes none."""
        for decision in self.decisions:
            if decision.name == name:
                return decision
        raise KeyError(name)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain data, the content of plan.json."""
        data: dict[str, Any] = _adapter().dump_python(self, mode="json")
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """Read a plan back. Raises UsageError naming the first field that is wrong."""
        try:
            return _adapter().validate_python(data)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise UsageError(
                f"this is no plan.json of schema {SCHEMA_VERSION}: {place}: {first['msg']}"
            ) from None


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of plan.json; the packaged plan.schema.json is this, written out."""
    return _adapter().json_schema(mode="serialization")


@cache
def _adapter() -> TypeAdapter[Plan]:
    return TypeAdapter(Plan)
