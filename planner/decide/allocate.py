"""How to split compute between parameters and tokens, over shapes that can be built.

    minimise L(N, D)  subject to  F(N) D <= C,  N <= max_params,  D <= max_tokens

with F(N) the family's FLOPs per token. The named shape is the buildable one with the lowest
predicted loss; the optima of the fit's draws, widened by the discrepancy of ln N* per decade beyond
the largest fitted run, are the interval. Being off the optimum is cheap, so the flat region is
reported too: the sizes that reach the same loss with at most 5 % more compute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planner.decide.sizes import Family, Ladder, ladder, params_of
from planner.decide.split import Split, point_loss
from planner.errors import EvidenceError, UsageError
from planner.estimate import Estimate
from planner.fit.loss_fit import LossFit
from planner.shape import ModelShape, Size

FRESH_EPOCHS = 4.0
"""Repeats up to which repeated tokens count as fresh (Muennighoff 2023, models up to 9B)."""

TOKENS_PER_PARAMETER = (0.05, 2e4)
"""Where an optimum is looked for; published ones lie between 1 and 500."""


@dataclass(frozen=True, slots=True)
class Caps:
    """What limits the split beside compute; parameters in the law's convention, None: no limit."""

    max_params: float | None = None
    max_tokens: float | None = None
    unique_tokens: float | None = None

    @property
    def tokens(self) -> float:
        """The most tokens to train on: the cap, and no more repeats than count as fresh."""
        fresh = FRESH_EPOCHS * self.unique_tokens if self.unique_tokens else np.inf
        return float(min(self.max_tokens or np.inf, fresh))


NO_CAPS = Caps()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A buildable size at a budget: parameters (the law's convention), tokens, FLOPs, nats."""

    shape: ModelShape | None
    size: Size
    params: float
    tokens: float
    flops: float
    loss_nats: float


@dataclass(frozen=True)
class Allocation:
    """A size and its tokens, with intervals of where the optimum lies.

    ``params_estimate.value`` is the buildable size in the law's convention, ``loss`` the predictive
    estimate of one run in nats per token, ``flat`` the flat region in parameters, ``optimum`` the
    fitted law's best size before rounding to a shape.
    """

    shape: ModelShape | None
    size: Size
    tokens: float
    flops: float
    params_estimate: Estimate
    tokens_estimate: Estimate
    loss: Estimate
    flat: tuple[float, float]
    optimum: float
    candidates: tuple[Candidate, ...]

    @property
    def params(self) -> float:
        """Parameters of the chosen size in the law's convention."""
        return self.params_estimate.value


def allocate(fit: LossFit, flops: float, family: Family, caps: Caps = NO_CAPS) -> Allocation:
    """Return the best buildable split of ``flops``.

    Raises UsageError when the caps leave nothing to build, EvidenceError when the fitted law has no
    optimum within TOKENS_PER_PARAMETER.
    """
    split = _split(fit, flops, family, caps)
    optimum, at_end = split.optimum()
    if at_end and caps.max_params is None and caps.tokens == np.inf:
        raise EvidenceError(
            f"the fitted law has no best size for {flops:.3g} FLOPs: larger models keep winning "
            f"down to {TOKENS_PER_PARAMETER[0]:g} tokens per parameter. The ladder needs sizes on "
            "both sides of the optimum at two compute levels; add longer runs of small models"
        )
    candidates = _candidates(split)
    chosen = min(candidates, key=lambda c: c.loss_nats)
    sizes = split.optimum_draws()
    method = "predictive: optimum of each draw + discrepancy per decade"
    return Allocation(
        shape=chosen.shape,
        size=chosen.size,
        tokens=chosen.tokens,
        flops=chosen.flops,
        params_estimate=Estimate.from_draws(sizes, method=method, value=chosen.params),
        tokens_estimate=Estimate.from_draws(
            split.tokens(sizes), method=method, value=chosen.tokens
        ),
        loss=predicted_loss(fit, chosen),
        flat=split.flat(),
        optimum=optimum,
        candidates=candidates,
    )


def evaluate(fit: LossFit, params: float, tokens: float, family: Family) -> Allocation:
    """Return the buildable size nearest to ``params``, trained on ``tokens``: given, not chosen."""
    rungs = ladder(family, (params / 2, params * 2), fit.n_convention, fit.flops_convention)
    i = rungs.nearest(params)
    split = _split(fit, float(rungs.flops_per_token[i] * tokens), family, NO_CAPS)
    chosen = candidate(fit, rungs, i, tokens)
    return Allocation(
        shape=chosen.shape,
        size=chosen.size,
        tokens=tokens,
        flops=chosen.flops,
        params_estimate=Estimate.exactly(chosen.params, "given"),
        tokens_estimate=Estimate.exactly(tokens, "given"),
        loss=predicted_loss(fit, chosen),
        flat=split.flat(),
        optimum=split.optimum()[0],
        candidates=_candidates(split),
    )


def best_size(fit: LossFit, flops: float, sizes: Sequence[Size]) -> int:
    """Return the index of the size with the lowest fitted loss when each spends ``flops``."""
    params = np.array([params_of(size, fit.n_convention) for size in sizes])
    tokens = flops / np.array([size.flops_per_token for size in sizes])
    return int(point_loss(fit, params, tokens).argmin())


def candidate(fit: LossFit, rungs: Ladder, index: int, tokens: float) -> Candidate:
    """Return one size of a ladder trained on ``tokens``, with the fitted law's loss."""
    params = float(rungs.params[index])
    loss = point_loss(fit, np.array([params]), np.array([tokens]))[0]
    flops = float(rungs.flops_per_token[index] * tokens)
    return Candidate(rungs.shapes[index], rungs.sizes[index], params, tokens, flops, float(loss))


def predicted_loss(fit: LossFit, chosen: Candidate) -> Estimate:
    """Return the predictive estimate of one run's loss, run-to-run noise included."""
    at = np.array([chosen.params]), np.array([chosen.tokens])
    flops = np.array([chosen.flops])
    (loss,) = fit.predict(*at, flops=flops, kind="predictive", run_noise=True)
    return loss


def _candidates(split: Split) -> tuple[Candidate, ...]:
    tokens = split.tokens(split.rungs.params)
    return tuple(
        candidate(split.fit, split.rungs, i, float(d))
        for i, d in enumerate(tokens)
        if split.span[0] <= split.rungs.params[i] <= split.span[1]
    )


def _split(fit: LossFit, flops: float, family: Family, caps: Caps) -> Split:
    """Lay out the sizes that can be built and are worth looking at."""
    few, many = TOKENS_PER_PARAMETER
    low, high = np.sqrt(flops / 6 / many), np.sqrt(flops / 6 / few)
    if caps.max_params is not None:
        low, high = min(low, caps.max_params / 10), min(high, caps.max_params)
    rungs = ladder(family, (float(low), 2 * float(high)), fit.n_convention, fit.flops_convention)
    smallest = float(rungs.params[0])
    if high <= smallest:
        raise UsageError(
            f"no size can be built: the family's smallest has {smallest:.3g} parameters, the most "
            f"allowed is {high:.3g}. Allow more parameters or compute, or a smaller vocabulary"
        )
    return Split(fit, rungs, flops, caps.tokens, (max(float(low), smallest), float(high)))
