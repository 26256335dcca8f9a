"""``planner explain NAME``: the mathematics of a decision, or a law, is the docstring behind it."""

from __future__ import annotations

import importlib
import inspect

from planner.errors import UsageError
from planner.fit.registry import LAWS

SOURCES = {
    "loss": "planner.fit.laws",
    "fit": "planner.fit.engine",
    "solver": "planner.fit.solve",
    "selection": "planner.fit.select",
    "discrepancy": "planner.fit.discrepancy",
    "findings": "planner.fit.check",
    "isoflop": "planner.fit.isoflop",
    "intervals": "planner.fit.uncertainty",
    "params": "planner.decide.allocate",
    "tokens": "planner.decide.allocate",
    "lr": "planner.fit.transfer",
    "batch_tokens": "planner.fit.transfer",
    "finder": "planner.fit.finder",
    "warmup": "planner.fit.warmup",
    "warmup_tokens": "planner.fit.warmup",
    "weight_decay": "planner.fit.decay",
    "parametrization": "planner.fit.parametrization",
    "coordinate_check": "planner.check.coordinate",
    "lr_transfer": "planner.check.transfer",
    "beta2": "planner.decide.rules",
    "schedule": "planner.decide.schedule",
    "schedule_laws": "planner.fit.schedule.laws",
    "best_schedule": "planner.fit.schedule.optimise",
    "critical_batch": "planner.fit.critical_batch",
    "steps_to_loss": "planner.fit.steps_to_loss",
    "noise_scale": "planner.fit.noise_scale",
    "lr_form": "planner.fit.lr_choice",
    "priors": "planner.fit.priors",
    "clip": "planner.decide.hyper",
    "muon": "planner.proxies._muon",
    "momentum": "planner.proxies._muon",
    "wide_priors": "planner.fit.priors_unpublished",
    "held_out": "planner.fit.held_out",
    "verdict": "planner.plan.verdict",
    "cost": "planner.plan.cost",
    "budget": "planner.sweep.layout",
    "rounds": "planner.sweep.policy",
    "grid": "planner.sweep.stages.lr_batch",
    "surface": "planner.fit.surface",
    "recommend": "planner.decide.recommend",
    "design": "planner.sweep.design",
    "ladder": "planner.sweep.stages.ladder",
    "size": "planner.shape",
}
"""Where each decision is made: the module whose opening states its formula."""


def explanation(name: str) -> str:
    """Return the mathematics of a decision or a law. Raises UsageError for other names."""
    if name in LAWS:
        law = LAWS[name]
        told = [inspect.getdoc(inspect.getmodule(type(law))), inspect.getdoc(type(law))]
        return "\n\n".join([f"{name}: L = {law.formula}", *filter(None, told)])
    if name not in SOURCES:
        known = ", ".join([*sorted(SOURCES), *LAWS])
        raise UsageError(f"nothing is called {name!r}; there is: {known}")
    module = SOURCES[name]
    text = inspect.getdoc(importlib.import_module(module)) or ""
    return f"{name}  ({module})\n\n{text}"
