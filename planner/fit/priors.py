"""What is believed about learning rate, batch and warmup before own data, and how firmly.

    ln lr*(N, D, B) = a + p ln(N/N0) + q ln(D/D0) - ln(1 + B_s(D)/B),   ln B_s = s + g ln(D/D0)
    ln B*(D)        = c + r ln(D/D0)

N0 and D0 are those of the anchor. Levels come from published fits at the anchor's *non-embedding*
parameters; slopes multiply a ratio of sizes and so hold in any convention.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
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
        cls, params_non_embedding: float = REFERENCE_PARAMS, tokens: float = REFERENCE_TOKENS
    ) -> Self:
        """Return the published beliefs at an anchor; wide below SMALL_PARAMS.

        There p follows Porian 2024 (-.36, fitted on 5e6-9e8) with sd .4, and the curvature is that
        of byte-level proxies of 1e4-1e5 parameters (.02-.05 nats).
        """
        small = params_non_embedding < SMALL_PARAMS
        level, by_size, by_tokens = SATURATING_LR
        log_size = np.log(params_non_embedding / REFERENCE_PARAMS)
        log_tokens = np.log(tokens / REFERENCE_TOKENS)
        noise_batch = np.log(NOISE_BATCH[0]) + NOISE_BATCH[1] * log_tokens
        batch = np.log(OPTIMAL_BATCH[0]) + OPTIMAL_BATCH[1] * np.log(tokens)
        spread = 1.5 if small else 0.5
        return cls(
            params=params_non_embedding,
            tokens=tokens,
            level=Normal(float(level + by_size * log_size + by_tokens * log_tokens), spread),
            size_slope=Normal(-0.35, 0.4) if small else Normal(-0.6, 0.2),
            token_slope=Normal(0.25, 0.3 if small else 0.2),
            noise_batch=Normal(float(noise_batch), spread),
            noise_batch_slope=Normal(0.7, 0.3 if small else 0.2),
            batch=Normal(float(batch), spread),
            batch_slope=Normal(0.5, 0.15 if small else 0.1),
            log_k_low=_log(0.03, 0.6) if small else _log(0.018, 0.5),
            log_k_high=_log(0.04, 0.7) if small else _log(0.025, 0.7),
            log_k_batch=_log(0.03, 0.8) if small else _log(0.014, 0.5),
        )


def _log(median: float, sd: float) -> Normal:
    return Normal(float(np.log(median)), sd)
