"""Which further run would narrow the answer most, from the draws alone (linear-Gaussian update).

A run whose loss x is seen with noise variance R would leave of the target's variance

    Var[t | x] = Var[t] - Cov[t, x] (Var[x] + R)^-1 Cov[x, t]

and a larger run also moves C_max up, which takes decades off the discrepancy. Candidates: a rung of
three sizes round N* at 2, 4 or 10 times C_max; more seeds, or three learning rates, at C_max.
Gains are compared in nats; candidates dearer than a twentieth of the target are not worth it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass

import numpy as np

from planner.arrays import Floats
from planner.decide.allocate import Allocation, allocate
from planner.decide.sizes import Family
from planner.errors import EvidenceError, UsageError
from planner.fit.hyper_fit import HyperFit
from planner.fit.loss_fit import LossFit
from planner.plan.plan import NextExperiment
from planner.plan.sensitivity import target_draws
from planner.shape import Size
from planner.units import format_count, format_flops

RUNG_FACTORS = (2.0, 4.0, 10.0)
"""Compute of a further rung over the largest run."""

RUNG_SIZES = (0.5, 1.0, 2.0)
"""Sizes of a further rung over its N*."""

MORE_SEEDS = 2

DRAWS = 1000

BASIN_SD = 0.1
"""sd of ln lr* from three learning rates and a parabola (science A2.4: .09 mean, .23 at 95 %)."""

AFFORDABLE = 0.05
"""Most a further experiment may cost, as a share of the target (science H: 1 to 5 %)."""

WORTH_IT = 0.01
"""Least share of an interval a further experiment must take off."""


@dataclass(frozen=True, slots=True)
class Gain:
    """A candidate experiment and the nats it is expected to save."""

    experiment: NextExperiment
    nats: float


def next_experiment(
    fit: LossFit, hyper: HyperFit | None, chosen: Allocation, family: Family
) -> NextExperiment | None:
    """Return the affordable experiment with the largest expected gain; None if nothing helps."""
    gains = [*_rungs(fit, chosen, family), *_seeds(fit, chosen, family)]
    if hyper is not None:
        affordable = AFFORDABLE * chosen.flops / 3
        gains.append(_learning_rates(hyper, chosen, min(fit.range.flops[1], affordable)))
    worth = [
        gain
        for gain in gains
        if gain.experiment.cost_flops <= 1.001 * AFFORDABLE * chosen.flops
        and gain.experiment.expected_shrink >= WORTH_IT
    ]
    return max(worth, key=lambda gain: gain.nats).experiment if worth else None


def remaining_variance(target: Floats, seen: Floats, noise: Floats) -> float:
    """Return Var[target | seen] for draws (S,) and (S, k) jointly normal, noise variances (k,)."""
    centred = seen - seen.mean(axis=0)
    cross = centred.T @ (target - target.mean()) / len(target)
    spread = centred.T @ centred / len(target) + np.diag(noise)
    return float(target.var() - cross @ np.linalg.solve(spread, cross))


def _rungs(fit: LossFit, chosen: Allocation, family: Family) -> Iterator[Gain]:
    """Three sizes round N* at a multiple of C_max: information, and fewer decades to go."""
    largest = fit.range.flops[1]
    for factor in RUNG_FACTORS:
        flops = factor * largest
        if flops >= chosen.flops:
            return
        try:
            best = allocate(fit, flops, family)
        except (EvidenceError, UsageError):
            return
        params = best.optimum * np.array(RUNG_SIZES)
        tokens = best.tokens * best.params / params
        what = (
            f"train {', '.join(format_count(n, 2) for n in params)} parameters at "
            f"{format_flops(flops, 2)} each, {factor:g}x the largest run, and refit"
        )
        law = _law_variance_left(fit, chosen, (params, tokens), np.full(3, flops))
        decades = np.log10(chosen.flops / largest)
        left = (decades - np.log10(factor)) / decades
        yield _gain(what, 3 * flops, fit, chosen, (law, left**2))


def _seeds(fit: LossFit, chosen: Allocation, family: Family) -> Iterator[Gain]:
    """More seeds of the best run at C_max: less noise in what the law was fitted to."""
    flops = fit.range.flops[1]
    try:
        best = allocate(fit, flops, family)
    except (EvidenceError, UsageError):
        return
    count = np.full(MORE_SEEDS, 1.0)
    where = count * best.params, count * best.tokens
    law = _law_variance_left(fit, chosen, where, count * flops)
    what = f"{MORE_SEEDS} more seeds of {format_count(best.params, 2)} parameters at the largest C"
    yield _gain(what, MORE_SEEDS * best.flops, fit, chosen, (law, 1.0))


def _law_variance_left(
    fit: LossFit, chosen: Allocation, where: tuple[Floats, Floats], flops: Floats
) -> float:
    """Return the law's variance at the target after seeing the losses of further runs."""
    largest = fit.range.flops[1]
    seen = fit.loss_draws(*where, np.full(len(flops), largest))
    beyond = fit.loss_draws(*where, flops).var(axis=0) - seen.var(axis=0)
    noise = (fit.sigma * seen.mean(axis=0)) ** 2 + np.maximum(beyond, 0.0)
    return remaining_variance(target_draws(fit, chosen, largest), seen, noise)


def _gain(
    what: str, cost: float, fit: LossFit, chosen: Allocation, left: tuple[float, float]
) -> Gain:
    """Compare the target's sd before and after; ``left``: law variance, share of discrepancy."""
    total = target_draws(fit, chosen, chosen.flops).var()
    law = target_draws(fit, chosen, fit.range.flops[1]).var()
    noise = (fit.sigma * chosen.loss.value) ** 2
    before = float(np.sqrt(total + noise))
    after = float(np.sqrt(left[0] + max(total - law, 0.0) * left[1] + noise))
    return Gain(NextExperiment(what, cost, "loss", max(0.0, 1 - after / before)), before - after)


def _learning_rates(hyper: HyperFit, chosen: Allocation, flops: float) -> Gain:
    """Three learning rates at the planned tokens per parameter and ``flops``.

    They tell of the law of lr*, and take decades off its drift; the scatter between runs remains.
    """
    target = chosen.size.flops(chosen.tokens)
    shrink = float(np.sqrt(flops / target))
    size, tokens = Size(*(shrink * n for n in astuple(chosen.size))), chosen.tokens * shrink
    scatter = hyper.lr_law.scatter**2
    here, there = _log_lr(hyper, chosen.size, chosen.tokens), _log_lr(hyper, size, tokens)
    left = remaining_variance(here, there[:, None], np.array([BASIN_SD**2 + scatter]))
    before = here.var() + scatter + _drift(hyper, target, hyper.flops[1])
    after = left + scatter + _drift(hyper, target, max(flops, hyper.flops[1]))
    what = (
        f"three learning rates, x2 apart, at {format_count(size.params_matmul, 2)} parameters and "
        f"{format_count(tokens, 2)} tokens"
    )
    experiment = NextExperiment(what, 3 * flops, "lr", float(1 - np.sqrt(after / before)))
    cost = hyper.regret(1.0, hyper.depth(chosen.size, chosen.tokens))
    return Gain(experiment, float(cost * (before - after)))


def _log_lr(hyper: HyperFit, size: Size, tokens: float) -> Floats:
    """Return draws (S,) of ln lr* by its law alone, the same law in every call."""
    normals = np.random.default_rng(0).standard_normal((DRAWS, len(hyper.lr_law.mean)))
    params = float(getattr(size, hyper.n_convention))
    return hyper.lr_law.draws(params, tokens, hyper.batch(size, tokens).value, normals)


def _drift(hyper: HyperFit, target: float, largest: float) -> float:
    return (hyper.prior.lr_drift * max(0.0, float(np.log10(target / largest)))) ** 2
