"""Batch, learning rate, warmup, weight decay and beta2 of one run: one rule each for every run.

    batch    = context x 2^k nearest to the fitted B*
    lr       = fitted lr*(N, D, batch), a quarter of its sd (in ln) to the low side
    warmup   = the fitted or usual one, transferred in steps (planner/fit/warmup.py), >= 20 steps
    weight decay and beta2 by the rules of planner/decide/rules.py
    schedule = every proxy's, unless its curves say better (planner/decide/schedule.py);  clip = 1

Ladder, held-out rung and plan all come through here, so that no rung differs from another in
anything but what the laws say. Results lie on a lattice (lr by 2^(1/4), tokens by whole steps).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from planner.decide.decision import Decision
from planner.decide.rules import (
    beta2_rule,
    cautious_lr,
    snap_batch,
    snap_lr,
    weight_decay_rule,
)
from planner.decide.schedule import ScheduleEvidence, schedule_decision
from planner.estimate import Estimate
from planner.fit.decay import RULE, TAU_EXPONENT, TAU_SCALE, DecayFit
from planner.fit.hyper_fit import HyperFit
from planner.fit.warmup import DEFAULT_FRACTION, WarmupFit
from planner.shape import Size
from planner.units import format_count

__all__ = ["RungHyper", "hyper_decisions", "rules_at", "rung_hyper", "snap_lr"]

CLIP = 1.0
"""Global gradient norm; what nearly every published run uses."""

FEWEST_WARMUP_STEPS = 20

USUAL_WARMUP = WarmupFit(DEFAULT_FRACTION)

OWN_WARMUP = (
    "the shortest that cost nothing in own runs, in steps by lr x sqrt(batch), within .5 to 5 % of "
    "the run and 2 tokens per parameter."
)

NO_CURVES = ScheduleEvidence()


@dataclass(frozen=True, slots=True)
class RungHyper:
    """Everything but size and horizon that a trial needs."""

    batch_tokens: int
    lr: float
    warmup_tokens: int
    weight_decay: float
    beta2: float
    clip: float = CLIP


def rung_hyper(hyper: HyperFit, size: Size, tokens: float, *, min_batch_tokens: int) -> RungHyper:
    """Return the hyperparameters of a run of ``size`` on ``tokens`` tokens.

    ``min_batch_tokens`` is one sequence: the batch is that times a power of two.
    """
    batch = snap_batch(hyper.best_batch(size, tokens), min_batch_tokens)
    lr = snap_lr(cautious_lr(hyper.lr(size, tokens, batch)))
    return rules_at(size, tokens, batch_tokens=batch, lr=lr, warmup=hyper.warmup, decay=hyper.decay)


def trunk_hyper(
    hyper: HyperFit, size: Size, horizons: Sequence[float], *, min_batch_tokens: int
) -> RungHyper:
    """Return the hyperparameters of one trunk for all ``horizons``, in rising order.

    The batch suits the shortest, the rest the geometric middle. A batch above a short fork's best
    is like missing steps and biases its loss upwards, and N* with it; one below a long fork's best
    costs little once the learning rate is chosen for it. So it is rounded down.
    """
    middle = float(np.sqrt(horizons[0] * horizons[-1]))
    batch = snap_batch(hyper.best_batch(size, horizons[0]), min_batch_tokens, down=True)
    lr = snap_lr(cautious_lr(hyper.lr(size, middle, batch)))
    return rules_at(size, middle, batch_tokens=batch, lr=lr, warmup=hyper.warmup, decay=hyper.decay)


def rules_at(
    size: Size,
    tokens: float,
    *,
    batch_tokens: int,
    lr: float,
    warmup: WarmupFit = USUAL_WARMUP,
    decay: DecayFit = RULE,
) -> RungHyper:
    """Complete a given batch and learning rate by the rules for warmup, weight decay and beta2."""
    wanted = _warmup_steps(warmup, size, tokens, batch_tokens=batch_tokens, lr=lr).value
    longest = max(1, round(tokens / batch_tokens) // 2)
    steps = min(max(FEWEST_WARMUP_STEPS, round(wanted)), longest)
    return RungHyper(
        batch_tokens=batch_tokens,
        lr=lr,
        warmup_tokens=steps * batch_tokens,
        weight_decay=weight_decay_rule(size, tokens, batch_tokens, lr, factor=decay.factor.value),
        beta2=beta2_rule(batch_tokens, tokens),
    )


def hyper_decisions(
    hyper: HyperFit,
    size: Size,
    tokens: float,
    *,
    min_batch_tokens: int,
    schedule: ScheduleEvidence = NO_CURVES,
) -> tuple[Decision, ...]:
    """Return the decisions on batch, learning rate, warmup, schedule, decay, beta2 and clip."""
    chosen = rung_hyper(hyper, size, tokens, min_batch_tokens=min_batch_tokens)
    run = _Planned(hyper, size, tokens, chosen)
    return (*_fitted(run), schedule_decision(schedule, tokens), *_by_rule(run))


class _Planned(NamedTuple):
    hyper: HyperFit
    size: Size
    tokens: float
    chosen: RungHyper


def _fitted(run: _Planned) -> tuple[Decision, ...]:
    """Decide what the user's own runs can speak to."""
    hyper, chosen = run.hyper, run.chosen
    keys = tuple(sorted({key for cell in hyper.cells for key in cell.keys}))
    share = f"own runs carry {hyper.own_share:.0%} of the law's precision"
    depth = hyper.depth(run.size, run.tokens)
    steps = _warmup_steps(
        hyper.warmup, run.size, run.tokens, batch_tokens=chosen.batch_tokens, lr=chosen.lr
    )
    return (
        Decision(
            "batch_tokens",
            _around(chosen.batch_tokens, hyper.batch(run.size, run.tokens)),
            "tokens per step",
            "The power of two (in sequences) nearest to the batch with the lowest loss at this "
            f"horizon, which grows with the tokens; a factor of two off costs "
            f"{hyper.batch_regret(np.log(2), depth):.2g} nats; own runs carry "
            f"{hyper.own_share_batch:.0%} of its law's precision.",
            keys,
        ),
        Decision(
            "lr",
            _around(chosen.lr, hyper.lr(run.size, run.tokens, chosen.batch_tokens)),
            "peak learning rate",
            "The fitted optimum at this size, horizon and batch (never moved over tokens without "
            "the batch), a quarter of its sd to the low side, away from divergence; half the "
            f"optimum costs {hyper.regret(-np.log(2), depth):.2g} nats, twice "
            f"{hyper.regret(np.log(2), depth):.2g}; {share}.",
            keys,
        ),
        Decision(
            "warmup_tokens",
            _around(chosen.warmup_tokens, steps.scaled(chosen.batch_tokens)),
            "tokens",
            f"{chosen.warmup_tokens / run.tokens:.2g} of the run, "
            f"{chosen.warmup_tokens // chosen.batch_tokens} steps of linear warmup: "
            + (OWN_WARMUP if hyper.warmup.measured else "common practice, bounded."),
            hyper.warmup.evidence,
        ),
    )


def _by_rule(run: _Planned) -> tuple[Decision, ...]:
    """Decide what follows from a stated rule."""
    chosen = run.chosen
    half_life = -chosen.batch_tokens / np.log2(chosen.beta2)
    return (
        _weight_decay(run),
        Decision(
            "beta2",
            Estimate.exactly(chosen.beta2, "rule"),
            "",
            f"A half-life of {format_count(half_life)} tokens "
            f"({half_life / chosen.batch_tokens:.0f} steps): 10M, at most 5 % of the run, at any "
            "batch; never below .9 nor above .9999.",
            label=f"{chosen.beta2:.5f}",
        ),
        Decision(
            "clip",
            Estimate.exactly(chosen.clip, "rule"),
            "global gradient norm",
            "The usual bound; when more than 30 % of the steps clip, lower the learning rate.",
        ),
    )


def _weight_decay(run: _Planned) -> Decision:
    """Decide the weight decay: the rule's, or that of own runs where they show better."""
    fit, value = run.hyper.decay, run.chosen.weight_decay
    factor = fit.factor
    tau = run.chosen.batch_tokens / (run.chosen.lr * run.tokens * value)
    reason = (
        f"batch / (lr x tokens x tau): AdamW averages over tau = {tau:.2g} of the run, "
        f"{TAU_SCALE} x (tokens per parameter)^{TAU_EXPONENT} as Power Lines found best"
    )
    if fit.gain is None:
        reason += "."
    elif factor == RULE.factor:
        reason += f"; own runs found no better one (gain {fit.gain.value:.2g} nats, not 2 SE)."
    else:
        reason += f", times {factor.value:.2g}: own runs gain {fit.gain.value:.2g} nats by it."
    return Decision(
        "weight_decay",
        Estimate(
            value,
            value * factor.value / factor.high,
            value * factor.value / factor.low,
            factor.level,
            factor.method,
        ),
        "AdamW lambda, coupled to lr",
        reason,
        fit.evidence,
    )


def _warmup_steps(
    warmup: WarmupFit, size: Size, tokens: float, *, batch_tokens: int, lr: float
) -> Estimate:
    return warmup.transferred(
        params=size.params_matmul,
        tokens=tokens,
        batch_tokens=batch_tokens,
        lr=lr,
        beta2=beta2_rule(batch_tokens, tokens),
    )


def _around(value: float, best: Estimate) -> Estimate:
    """Return the value to use with the interval of the optimum, stretched to hold it."""
    return Estimate(
        float(value), min(best.low, value), max(best.high, value), best.level, best.method
    )
