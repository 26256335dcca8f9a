"""``planner explain NAME``: the mathematics of a decision is the docstring of what decides it."""

from __future__ import annotations

import importlib
import inspect

from planner.errors import UsageError

SOURCES = {
    "loss": "planner.fit.laws",
    "fit": "planner.fit.solve",
    "intervals": "planner.fit.uncertainty",
    "params": "planner.decide.allocate",
    "tokens": "planner.decide.allocate",
    "lr": "planner.fit.transfer",
    "batch_tokens": "planner.fit.transfer",
    "finder": "planner.fit.finder",
    "warmup": "planner.fit.warmup",
    "warmup_tokens": "planner.fit.warmup",
    "weight_decay": "planner.decide.rules",
    "beta2": "planner.decide.rules",
    "schedule": "planner.decide.hyper",
    "clip": "planner.decide.hyper",
    "held_out": "planner.fit.held_out",
    "verdict": "planner.plan.verdict",
    "cost": "planner.plan.cost",
    "budget": "planner.sweep.layout",
    "rounds": "planner.sweep.policy",
    "grid": "planner.sweep.stages.lr_batch",
    "ladder": "planner.sweep.stages.ladder",
    "size": "planner.shape",
}
"""Where each decision is made: the module whose opening states its formula."""


def explanation(name: str) -> str:
    """Return the opening of the module that decides ``name``. Raises UsageError for others."""
    if name not in SOURCES:
        raise UsageError(f"nothing is called {name!r}; there is: {', '.join(sorted(SOURCES))}")
    module = SOURCES[name]
    text = inspect.getdoc(importlib.import_module(module)) or ""
    return f"{name}  ({module})\n\n{text}"
