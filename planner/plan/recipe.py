"""What a plan says where the study's trials were not all AdamW's: which rules hold, and which not.

SGD: the decay every run held fixed; no rule for AdamW's second moment.
Muon beside AdamW: momentum and scale of the update as every run had them. The timescale
batch / (lr D decay) is the same average, as both move by lr times an update of one size and shrink
by lr times decay; that AdamW's best one is Muon's too is assumed, so its interval is a factor 4.
beta2 stays a rule for what AdamW moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from planner.decide.decision import Decision
from planner.estimate import Estimate
from planner.fit.decay import PUBLISHED
from planner.plan.plan import Plan

MUON_DOUBT = 2.0
"""Factor by which the interval of an unmeasured decay is wider under Muon: another factor 2."""


def by_recipe(plan: Plan, recipe: Mapping[str, Any]) -> Plan:
    """Return the plan of a study whose recipe names a ``weight_decay`` (SGD's) or ``muon``."""
    if "weight_decay" in recipe:
        return _held_decay(plan, recipe)
    return _with_muon(plan, recipe["muon"]) if "muon" in recipe else plan


def _held_decay(plan: Plan, recipe: Mapping[str, Any]) -> Plan:
    held = Decision(
        "weight_decay",
        Estimate.exactly(float(recipe["weight_decay"]), "held fixed"),
        "L2 coefficient of SGD",
        f"What every run of the study was trained with ({recipe.get('optimizer', 'SGD')}).",
    )
    kept = [held if d.name == "weight_decay" else d for d in plan.decisions if d.name != "beta2"]
    return replace(plan, decisions=tuple(kept))


def _with_muon(plan: Plan, muon: Mapping[str, Any]) -> Plan:
    momentum = Decision(
        "momentum",
        Estimate.exactly(float(muon["momentum"]), "held fixed"),
        "Nesterov, Muon's",
        "Every run moved the matrices of its blocks by Muon and the rest by AdamW, and so must the "
        "planned one. A hidden parameter then takes 12 bytes (weight, gradient, momentum), any "
        "other 16.",
    )
    one_lr = (
        f" It is Muon's and AdamW's alike: Muon's orthogonal updates are scaled to an RMS of "
        f"{muon['update_rms']:g}."
    )
    kept: list[Decision] = []
    for decision in plan.decisions:
        match decision.name:
            case "lr":
                kept += replace(decision, reason=decision.reason + one_lr), momentum
            case "weight_decay":
                kept.append(_decay(decision))
            case "beta2":
                kept.append(replace(decision, reason=f"{decision.reason} Muon has none."))
            case _:
                kept.append(decision)
    return replace(plan, decisions=tuple(kept))


def _decay(rule: Decision) -> Decision:
    """Say that AdamW's rule is assumed of Muon too, unless own runs found another timescale."""
    both = rule.reason.replace("AdamW averages", "Muon and AdamW average")
    found = replace(rule, unit="decoupled, times lr; Muon's and AdamW's", reason=both)
    if rule.estimate.method != PUBLISHED.method:
        return found
    one = rule.estimate
    wide = replace(
        one,
        low=one.low / MUON_DOUBT,
        high=one.high * MUON_DOUBT,
        method="AdamW's published rule; a factor 4 assumed under Muon",
    )
    untested = " That AdamW's holds for Muon is assumed until the stage weight_decay measures it."
    return replace(found, estimate=wide, reason=both + untested)
