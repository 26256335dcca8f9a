"""The rules behind a run's hyperparameters: weight decay, beta2, the low side of lr, the lattice.

    decay = batch / (lr D tau),  tau = 1.084 (D/N)^-.527       (how long AdamW averages, as a share;
                                                                planner/fit/decay.py)
    beta2 = 2^(-batch / min(1e7, D/20))                        (half-life in tokens)

Proposed numbers are snapped to a lattice (lr by 2^(1/4), batch by powers of two sequences,
tokens by whole steps), so that a last-bit change of a fit makes no new trial.
"""

from __future__ import annotations

import math

import numpy as np

from planner.estimate import Estimate
from planner.fit.decay import tau_rule
from planner.shape import Size

LOW_SIDE = 0.25
"""Share of the sd of ln lr* taken off: too high costs more than too low (science A, finding 1)."""

MOST_LOW_SIDE = float(np.log(1.3))
"""Most taken off ln lr. The shift pays for a lopsided basin, not for ignorance: with a prior-wide
sd (1.5) a quarter would be a factor 1.45. A factor 1.3 low costs about k ln^2 1.3 = .001 nats,
below what seeds resolve."""

HALF_LIFE_TOKENS, HALF_LIFE_SHARE = 1e7, 0.05
"""Half-life of the second moment (Marek 2025, 3e7 to 1e9 parameters), and its cap as share of D."""

BETA2_RANGE = (0.9, 0.9999)
"""beta2 stays at or above beta1, where Adam is stable, and below what short runs can average."""

LATTICE = 0.25
"""Learning rates are powers of 2^(1/4)."""

Z90 = 1.6448536269514722


def weight_decay_rule(
    size: Size, tokens: float, batch_tokens: int, lr: float, *, factor: float = 1.0
) -> float:
    """Return AdamW's lambda (coupled to lr) that averages over the best share of the run.

    ``factor`` is the best share in units of the rule's, where own runs measured it.
    """
    tau = factor * tau_rule(tokens / size.params_matmul)
    return float(batch_tokens / (lr * tokens * tau))


def beta2_rule(batch_tokens: int, tokens: float) -> float:
    """Return beta2 with a fixed half-life in tokens."""
    half_life = min(HALF_LIFE_TOKENS, HALF_LIFE_SHARE * tokens)
    least, most = BETA2_RANGE
    return float(min(max(2.0 ** (-batch_tokens / half_life), least), most))


def cautious_lr(best: Estimate) -> float:
    """Return the learning rate to use, given a log-normal estimate of the best (level 90 %)."""
    sd = float(np.log(best.high / best.low)) / (2 * Z90)
    return float(best.value * np.exp(-min(LOW_SIDE * sd, MOST_LOW_SIDE)))


def snap_lr(lr: float) -> float:
    """Return the nearest power of 2^(1/4)."""
    return float(2.0 ** (LATTICE * round(float(np.log2(lr)) / LATTICE)))


def snap_batch(batch_tokens: float, min_batch_tokens: int, *, down: bool = False) -> int:
    """Return the nearest power of two times ``min_batch_tokens`` (one sequence), or the one below.

    Never less than ``min_batch_tokens``.
    """
    log = float(np.log2(batch_tokens / min_batch_tokens))
    doublings = math.floor(log) if down else round(log)
    return int(min_batch_tokens * 2 ** max(0, doublings))
