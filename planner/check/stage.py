"""What a proxy's checks are run on: tiny trials of one size, each in a folder of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from planner.check.rehearsal import Rehearsal
from planner.finding import Finding, Severity
from planner.proxy import Proxy
from planner.run import Schedule, Trial

STEPS = 40
"""Optimizer steps of a rehearsal: enough to report often and to stop half-way."""


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


def blocking(code: str, what: str, remedy: str = "") -> Finding:
    """Return a finding that keeps a sweep from using the proxy."""
    return Finding(f"proxy-{code}", Severity.BLOCKING, what, remedy)


def warning(code: str, what: str, remedy: str = "") -> Finding:
    """Return a finding that costs something, but no truth."""
    return Finding(f"proxy-{code}", Severity.WARNING, what, remedy)


def info(code: str, what: str, remedy: str = "") -> Finding:
    """Return a finding worth knowing."""
    return Finding(f"proxy-{code}", Severity.INFO, what, remedy)
