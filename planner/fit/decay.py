"""Weight decay as AdamW's timescale: over which share of the run it averages, and which is best.

    tau = batch / (lr D decay),      tau*(D/N) = 1.084 (D/N)^-.527

The rule (Power Lines, Bergsma 2025) stands unless own runs that differ in their decay alone show
better: through the losses at three values, a parabola in ln tau; its minimum inside the tested
range is taken only when it lies below the rule's loss by more than two standard errors. The basin
is flat, so mostly it does not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np

from planner.arrays import Floats
from planner.estimate import Estimate
from planner.run import Run

TAU_SCALE, TAU_EXPONENT = 1.084, -0.527
"""Best share of the run that AdamW averages over, against tokens per parameter (Bergsma 2025, Power
Lines; 1e8 to 3e9 parameters, 1 to 1,000 tokens per parameter)."""

SURE = 2.0
"""Standard errors by which another timescale must be better than the rule's."""

FEWEST = 3
"""Values a parabola needs."""

PUBLISHED = Estimate(1.0, 0.5, 2.0, method="published rule; a factor 2 assumed")
"""The rule in its own units."""

POINTS = 201


@dataclass(frozen=True, slots=True)
class DecayFit:
    """The best timescale in units of the rule's, ``factor``; 1 where the rule stands."""

    factor: Estimate = PUBLISHED
    gain: Estimate | None = None
    """Nats by which the best of the tested range undercuts the rule; None when nothing varied."""
    evidence: tuple[str, ...] = ()

    @property
    def measured(self) -> bool:
        """Say whether own runs varied the weight decay."""
        return self.gain is not None

    def to_json(self) -> dict[str, Any]:
        """Return the fit as plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read a fit back from plain data."""
        gain = Estimate(**data["gain"]) if data["gain"] else None
        return cls(Estimate(**data["factor"]), gain, tuple(data["evidence"]))


RULE = DecayFit()


def tau_rule(tokens_per_param: float) -> float:
    """Return the best share of a run to average over."""
    return float(TAU_SCALE * tokens_per_param**TAU_EXPONENT)


def tau_of(run: Run) -> float:
    """Return the share of the run that a trial's AdamW averages over; inf without decay."""
    trial = run.trial
    pull = trial.lr * trial.tokens * trial.weight_decay
    return trial.batch_tokens / pull if pull else float("inf")


def fit_decay(runs: Sequence[Run], *, sigma: float) -> DecayFit:
    """Hold the rule against the largest set of finished runs that differ in weight decay alone.

    ``sigma`` is the seed noise of one run in nats. Without three decays above 0, the rule.
    """
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        if run.done and run.trial.parent is None and run.trial.weight_decay > 0:
            groups[replace(run.trial, weight_decay=0.0, seed=0).key({})].append(run)
    varied = [group for group in groups.values() if len(_decays(group)) >= FEWEST]
    if not varied:
        return RULE
    return _judged(max(varied, key=lambda group: (len(_decays(group)), len(group))), sigma)


def _decays(group: Sequence[Run]) -> set[float]:
    return {run.trial.weight_decay for run in group}


def _judged(group: Sequence[Run], sigma: float) -> DecayFit:
    """Fit the parabola by weighted least squares; accept its minimum or keep the rule."""
    rule = tau_rule(group[0].trial.tokens / group[0].size.params_matmul)
    log_tau = np.array([np.log(tau_of(run) / rule) for run in group])
    loss = np.array([run.loss for run in group])
    # A linear estimator of the loss anywhere: rows of weights on the runs' losses.
    fit = np.linalg.pinv(np.vander(log_tau, 3))
    x = np.linspace(log_tau.min(), log_tau.max(), POINTS)
    curve = np.vander(x, 3) @ fit
    best = curve[np.argmin(curve @ loss)]
    gain, se = _difference(np.vander([0.0], 3)[0] @ fit - best, loss, sigma)
    keys = tuple(sorted(run.key for run in group))
    found = Estimate(gain, gain - 1.645 * se, gain + 1.645 * se, method="parabola in ln tau")
    if gain <= SURE * se:
        return DecayFit(PUBLISHED, found, keys)
    above = (curve - best) @ loss
    spread = sigma * np.linalg.norm(curve - best, axis=1)
    flat = x[above <= SURE * spread]
    value, low, high = (float(np.exp(v)) for v in (x[np.argmin(curve @ loss)], flat[0], flat[-1]))
    method = f"parabola in ln tau through {len(_decays(group))} weight decays"
    return DecayFit(Estimate(value, min(low, value), max(high, value), method=method), found, keys)


def _difference(weights: Floats, loss: Floats, sigma: float) -> tuple[float, float]:
    return float(weights @ loss), float(sigma * np.linalg.norm(weights))
