"""What is believed about learning rate, batch and warmup before own data, and how firmly.

    ln lr*(N, D, B) = a + p ln(N/N0) + q ln(D/D0) - ln(1 + B_s(D)/B),   ln B_s = s + g ln(D/D0)
    ln B*(D)        = c + r ln(D/D0)

N0 and D0 are those of the anchor. Levels come from published fits at the anchor's *non-embedding*
parameters; slopes multiply a ratio of sizes and so hold in any convention.

Two families of beliefs are shipped. STEP_LAW is preferred; OTHERS owes nothing to the Step Law
runs, so that a forecast of those runs is a test. Any field can be replaced by one's own belief.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

import numpy as np

REFERENCE_PARAMS, REFERENCE_TOKENS = 5e8, 2e10
"""Where the published levels are centred (non-embedding parameters, tokens)."""

PUBLISHED_FLOPS = (1e18, 7e20)
"""Compute of the runs behind the published levels."""

SATURATING_LR = (-6.147, -0.664, 0.234)
"""ln lr_inf at the reference, its slopes in ln N and ln D: least squares on 157 interior optima of
the Step Law runs (Li 2025; N 6e7-1.1e9 non-embedding, D 2e9-1e11, AdamW)."""

NOISE_BATCH = (2.14e5, 0.747)
"""B_s at D = 2e10 in tokens and its exponent in D; same fit, same range."""

OPTIMAL_BATCH = (0.683, 0.560)
"""B* = 0.683 D^0.560 tokens: refit of the Step Law runs (published: 0.58 D^0.571), same range."""

PORIAN_LR, PORIAN_BATCH = (3.7, -0.36), (0.7576, 0.703)
"""lr = 3.7 N^-.36 at B = .7576 N^.703 tokens, D = 20 N (Porian 2024; N 5e6-9e8 with the head,
AdamW, constant lr)."""

DEEPSEEK_LR, DEEPSEEK_BATCH = (0.3118, -0.1250), (0.2920, 0.3271)
"""lr = .3118 C^-.125 at B = .292 C^.3271 tokens (DeepSeek LLM 2024; C 1e17-2e19, multi-step
schedule)."""

POWER_LINES_BATCH = (0.0306 * 2048, 0.383)
"""B* = .0306 D^.383 sequences of 2048 (Bergsma 2025; D up to 1e11, independent of N)."""

HALF_SATURATED = float(np.log(2))
"""ln lr_inf less ln lr at the batch B_s: what a rate tuned at B* lies below lr_inf if B* = B_s."""

SMALL_PARAMS = 5e7
"""Below this size every published law is an extrapolation; measured optima at 3e4-1e5 parameters
lie a factor 3-10 away from all of them, so levels get sd 1.5 and slopes are widened."""


@dataclass(frozen=True, slots=True)
class Normal:
    """A normal belief."""

    mean: float
    sd: float


@dataclass(frozen=True, slots=True)
class Priors:
    """Beliefs at an anchor (levels in natural logs), and the spread no fit removes."""

    params: float
    """N0, in the convention of the fit (non-embedding where there are no own cells)."""
    tokens: float
    """D0."""
    level: Normal
    """a: ln lr_inf at the anchor."""
    size_slope: Normal
    """p: exponent of lr* in N."""
    token_slope: Normal
    """q: exponent of lr_inf in D."""
    noise_batch: Normal
    """s: ln B_s at the anchor's tokens."""
    noise_batch_slope: Normal
    """g: exponent of B_s in D."""
    batch: Normal
    """c: ln B* at the anchor's tokens."""
    batch_slope: Normal
    """r: exponent of B* in D (published: .38-.57)."""
    log_k_low: Normal
    """ln curvature of the loss in ln lr below lr* (nats)."""
    log_k_high: Normal
    """The same above lr*."""
    log_k_batch: Normal
    """ln curvature of the loss in ln B, either side."""
    depth_slope: Normal
    """Exponent in N, and in D, of how deep all basins are: 0 for basins that never change, -.35
    for such as shrink like the loss's own terms."""
    sides: float | None = None
    """sd of ln(k_high / k_low) round what their means say, for lr and batch; None where the two
    spreads were measured, each for itself."""
    lr_scatter: float = 0.16
    """sd of ln lr* of single cells round the law: in-sample residual of the Step Law runs."""
    lr_drift: float = 0.35
    """sd of ln lr* per decade of compute beyond the cells: ln 2 per two decades (a published
    forecast missed by > 4x at 4.7B parameters)."""
    batch_scatter: float = 0.25
    """sd of ln B* of single horizons round the law: B* is flat and read off x2-x4 grids."""
    batch_drift: float = 0.25
    """sd of ln B* per decade of compute beyond the cells: the published exponents' disagreement."""
    seed_noise: float = 0.005
    """Seed noise in nats before replicates (published: .0016-.01)."""
    seed_noise_df: float = 2.0
    """Replicates the belief in ``seed_noise`` is worth."""
    source: str = "Step Law runs, refitted with saturation in B"

    def to_json(self) -> dict[str, Any]:
        """Return the beliefs as plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read beliefs back from plain data."""
        read: dict[str, Any] = {f.name: data[f.name] for f in fields(cls)}
        beliefs = {k: Normal(**v) for k, v in read.items() if isinstance(v, Mapping)}
        return cls(**(read | beliefs))

    @classmethod
    def published(
        cls,
        params_non_embedding: float = REFERENCE_PARAMS,
        tokens: float = REFERENCE_TOKENS,
        *,
        without: Collection[str] = (),
    ) -> Priors:
        """Return the published beliefs at an anchor; wide below SMALL_PARAMS.

        ``without`` names families (of FAMILIES, or "all") that must not be used: a forecast of
        their own runs would otherwise know the answer.
        """
        if unknown := set(without) - {*FAMILIES, "all"}:
            raise ValueError(
                f"no family of priors is called {', '.join(sorted(unknown))}; "
                f"without can hold {', '.join(FAMILIES)} and all"
            )
        left = [name for name in FAMILIES if name not in without and "all" not in without]
        believed = FAMILIES[left[0]] if left else VAGUE.at
        return believed(params_non_embedding, tokens)


@dataclass(frozen=True, slots=True)
class Family:
    """Beliefs of one origin at the reference, and the slopes that carry their levels elsewhere."""

    beliefs: Priors
    size_slope: float
    """d ln lr_inf / d ln N along which the level moves to another anchor."""
    token_slope: float
    """d ln lr_inf / d ln D."""
    noise_batch_slope: float
    """d ln B_s / d ln D."""
    batch_slope: float
    """d ln B* / d ln D."""

    def at(self, params: float, tokens: float) -> Priors:
        """Return the beliefs at an anchor, widened below SMALL_PARAMS.

        There B_s is carried along with B*: over five decades of tokens their exponents would part
        two scales of the same noise by a factor of 20, and a batch believed far above B_s makes
        lr* rise with the horizon where it falls.
        """
        base, small = self.beliefs, params < SMALL_PARAMS
        size, horizon = np.log(params / base.params), np.log(tokens / base.tokens)
        noise_batch_slope = self.batch_slope if small else self.noise_batch_slope
        moved = replace(
            base,
            params=params,
            tokens=tokens,
            level=_moved(base.level, self.size_slope * size + self.token_slope * horizon),
            noise_batch=_moved(base.noise_batch, noise_batch_slope * horizon),
            batch=_moved(base.batch, self.batch_slope * horizon),
        )
        return _widened(moved) if small else moved


def _moved(belief: Normal, by: float) -> Normal:
    return Normal(float(belief.mean + by), belief.sd)


def _log(median: float, sd: float) -> Normal:
    return Normal(float(np.log(median)), sd)


def _widened(prior: Priors) -> Priors:
    """Return beliefs for small models: p of Porian 2024 (fitted on 5e6-9e8), levels at sd 1.5.

    The curvature is that of byte-level proxies of 1e4-1e5 parameters (.02-.05 nats).
    """

    def at_least(belief: Normal, sd: float) -> Normal:
        return Normal(belief.mean, max(belief.sd, sd))

    return replace(
        prior,
        level=at_least(prior.level, 1.5),
        size_slope=at_least(Normal(-0.35, 0.4), prior.size_slope.sd),
        token_slope=at_least(prior.token_slope, 0.3),
        noise_batch=at_least(prior.noise_batch, 1.5),
        noise_batch_slope=at_least(prior.noise_batch_slope, 0.3),
        batch=at_least(prior.batch, 1.5),
        batch_slope=at_least(prior.batch_slope, 0.15),
        log_k_low=at_least(BYTE_K_LOW, prior.log_k_low.sd),
        log_k_high=at_least(BYTE_K_HIGH, prior.log_k_high.sd),
        log_k_batch=at_least(BYTE_K_BATCH, prior.log_k_batch.sd),
    )


ALIKE = float(np.log(2))
"""Both sides of a smooth basin share the curvature at its minimum; over the points that count its
cubic term sets them apart by a factor of about two. It replaces a measured spread."""

BYTE_K_LOW, BYTE_K_HIGH, BYTE_K_BATCH = _log(0.03, 0.6), _log(0.04, 0.7), _log(0.03, 0.8)
"""Curvatures of byte-level proxies (N 1e4-1e5, D 5e5-4e6, AdamW): own measurements."""

STEP_LAW = Family(
    Priors(
        params=REFERENCE_PARAMS,
        tokens=REFERENCE_TOKENS,
        level=Normal(SATURATING_LR[0], 0.5),
        size_slope=Normal(-0.6, 0.2),
        token_slope=Normal(0.25, 0.2),
        noise_batch=_log(NOISE_BATCH[0], 0.5),
        noise_batch_slope=Normal(0.7, 0.2),
        batch=_log(OPTIMAL_BATCH[0] * REFERENCE_TOKENS ** OPTIMAL_BATCH[1], 0.5),
        batch_slope=Normal(0.5, 0.1),
        log_k_low=_log(0.018, 0.5),
        log_k_high=_log(0.025, 0.7),
        log_k_batch=_log(0.014, 0.5),
        depth_slope=Normal(-0.2, 0.08),
    ),
    *(*SATURATING_LR[1:], NOISE_BATCH[1], OPTIMAL_BATCH[1]),
)
"""Fitted on the Step Law runs; curvatures are the medians and spreads of their basins."""


def others(params: float, tokens: float) -> Priors:
    """Return what all sources but Step Law say at an anchor; the sds span their disagreement.

    Every rule is read at the anchor itself (N 5e6-9e8, C 1e17-2e19, D up to 8e11). Level: Porian
    and DeepSeek, tuned at about B*, half saturated. p: Porian -.36, Bjorck -.23, DeepSeek -.125,
    width^-1 of theory -.5. q: Bjorck's -.32 at a fixed batch below B_s is q - g/2 to q - g. B_s:
    the best batch, a factor e either side. r: Power Lines .383, Filatov .45, Zhang .47. Curvatures:
    byte-level proxies, twice as wide. Scatter: one step of a x2 grid.
    """
    size, horizon = np.log(params), np.log(tokens)
    flops = np.log(6.0) + size + horizon
    laws = [(PORIAN_LR, size), (DEEPSEEK_LR, flops)]
    level = float(np.mean([np.log(c) + e * x for (c, e), x in laws])) + HALF_SATURATED
    laws = [(PORIAN_BATCH, size), (DEEPSEEK_BATCH, flops), (POWER_LINES_BATCH, horizon)]
    batch = float(np.mean([np.log(c) + e * x for (c, e), x in laws]))
    here = Priors(
        params=params,
        tokens=tokens,
        level=Normal(level, 1.0),
        size_slope=Normal(-0.3, 0.3),
        token_slope=Normal(0.0, 0.3),
        noise_batch=Normal(batch, 1.0),
        noise_batch_slope=Normal(0.45, 0.3),
        batch=Normal(batch, 0.7),
        batch_slope=Normal(0.43, 0.15),
        log_k_low=Normal(BYTE_K_LOW.mean, 1.2),
        log_k_high=Normal(BYTE_K_HIGH.mean, 1.4),
        log_k_batch=Normal(BYTE_K_BATCH.mean, 1.6),
        depth_slope=Normal(-0.15, 0.15),
        sides=ALIKE,
        lr_scatter=0.2,
        source="Porian, DeepSeek, Power Lines, Bjorck, Filatov, Zhang; no Step Law run",
    )
    return here if params >= SMALL_PARAMS else _widened(here)


OTHERS = others(REFERENCE_PARAMS, REFERENCE_TOKENS)
"""What they say at the reference."""

VAGUE = Family(
    replace(
        OTHERS,
        level=Normal(OTHERS.level.mean, 3.0),
        size_slope=Normal(0.0, 1.0),
        token_slope=Normal(0.0, 1.0),
        noise_batch=Normal(OTHERS.noise_batch.mean, 3.0),
        noise_batch_slope=Normal(0.5, 1.0),
        batch=Normal(OTHERS.batch.mean, 3.0),
        batch_slope=Normal(0.5, 0.5),
        depth_slope=Normal(0.0, 0.3),
        source="none: orders of magnitude only",
    ),
    *(0.0, 0.0, 0.5, 0.5),
)
"""What is left without any published fit."""

FAMILIES = {"steplaw": STEP_LAW.at, "others": others}
"""What ``Priors.published`` can be asked to do without, preferred first."""
