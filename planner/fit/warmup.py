"""How long to warm up: the shortest warmup that costs nothing measurable, and its transfer.

Among runs that differ in their warmup alone, the smallest t_w whose loss exceeds the best by at
most max(seed noise, .002 nats). For another run of S steps

    steps = min(max(2/(1 - beta2), t_w (lr'/lr) sqrt(B'/B), S/200), S/20, 2 N/B')

where 2/(1 - beta2) is the untuned rule of Ma & Yarats; the caps win (at proxy scale it is longer
than any run can afford). The literature scales warmup in steps, in tokens and as a fraction, so
all three are kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np

from planner.estimate import Estimate
from planner.fit.cells import TOLERANCE
from planner.run import Run

DEFAULT_FRACTION = Estimate(0.02, 0.005, 0.05, method="prior: common practice, 1-2 % of the run")
"""Warmup as a fraction of the tokens when no run varied it."""

UNTUNED_STEPS = 2.0
"""Ma & Yarats: an untuned linear warmup takes 2/(1 - beta2) steps (40 at .95, 2000 at .999)."""

SHORTEST, LONGEST = 0.005, 0.05
"""Bounds of the transferred warmup as a fraction of the run."""

TOKENS_PER_PARAMETER = 2.0
"""Longest transferred warmup in tokens per parameter (Porian 2024: one much longer than a token per
parameter corrupts small models)."""


@dataclass(frozen=True, slots=True)
class WarmupFit:
    """The chosen warmup at the runs that measured it; low..high of ``fraction`` is the flat set."""

    fraction: Estimate
    tokens: float | None = None
    """Warmup, run length, batch and learning rate of the choice; None when it is the prior's."""
    run_tokens: float | None = None
    batch_tokens: float | None = None
    lr: float | None = None
    evidence: tuple[str, ...] = ()

    @property
    def measured(self) -> bool:
        """Say whether own runs varied the warmup."""
        return self.tokens is not None

    @property
    def steps(self) -> float | None:
        """Return the chosen warmup in optimizer steps."""
        if self.tokens is None or self.batch_tokens is None:
            return None
        return self.tokens / self.batch_tokens

    def transferred(
        self, *, params: float, tokens: float, batch_tokens: float, lr: float, beta2: float
    ) -> Estimate:
        """Return the warmup of another run in optimizer steps; low..high carries the flat set."""
        steps = tokens / batch_tokens
        caps = (LONGEST * steps, TOKENS_PER_PARAMETER * params / batch_tokens)
        floor = max(UNTUNED_STEPS / (1 - beta2), SHORTEST * steps)

        def bounded(wanted: float, least: float) -> float:
            return max(1.0, min(max(wanted, least), *caps))

        if self.run_tokens is None or self.batch_tokens is None or self.lr is None:
            scale = steps
        else:
            here = self.run_tokens / self.batch_tokens
            scale = here * lr / self.lr * float(np.sqrt(batch_tokens / self.batch_tokens))
        value = bounded(self.fraction.value * scale, floor)
        low = min(value, bounded(self.fraction.low * scale, SHORTEST * steps))
        high = max(value, bounded(self.fraction.high * scale, floor))
        return Estimate(value, low, high, self.fraction.level, self.fraction.method)

    def to_json(self) -> dict[str, Any]:
        """Return the fit as plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read a fit back from plain data."""
        read = {"fraction": Estimate(**data["fraction"]), "evidence": tuple(data["evidence"])}
        return cls(**(dict(data) | read))


def fit_warmup(runs: Sequence[Run], *, sigma: float) -> WarmupFit:
    """Choose the warmup from the largest set of finished runs that differ in it alone.

    ``sigma`` is the seed noise of one run in nats. Without two warmups to compare, the prior.
    """
    groups: dict[str, dict[int, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        if run.done and run.trial.parent is None:
            same = replace(run.trial, warmup_tokens=0, seed=0).key({})
            groups[same][run.trial.warmup_tokens].append(run)
    varied = [group for group in groups.values() if len(group) > 1]
    if not varied:
        return WarmupFit(DEFAULT_FRACTION)
    group = max(varied, key=lambda g: (len(g), sum(map(len, g.values())), _flops(g)))
    mean = {t: float(np.mean([r.loss for r in found])) for t, found in sorted(group.items())}
    limit = min(mean.values()) + max(sigma, TOLERANCE)
    flat = [tokens for tokens, loss in mean.items() if loss <= limit]
    members = [run for found in group.values() for run in found]
    trial = members[0].trial
    low, high = (t / trial.tokens for t in (flat[0], flat[-1]))
    method = f"smallest of {len(mean)} warmups within {max(sigma, TOLERANCE):.3g} nats of the best"
    return WarmupFit(
        fraction=Estimate(low, low, high, method=method),
        tokens=float(flat[0]),
        run_tokens=float(trial.tokens),
        batch_tokens=float(trial.batch_tokens),
        lr=trial.lr,
        evidence=tuple(sorted(run.key for run in members)),
    )


def _flops(group: Mapping[int, Sequence[Run]]) -> float:
    return sum(run.flops for found in group.values() for run in found)
