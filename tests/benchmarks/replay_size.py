"""Replay of the *size* decision: runs bought one by one, the size of the top C level asked for.

Pools are dclm and Chinchilla-240 without the top level and all above it. Whatever was bought, the
same recommender answers: the median of N*(C) under a law that drifts on the way to the target
(:mod:`planner.fit.drifting`).
The best-known answer is the coupled law on all rows. Error = |ln N - ln N*|; waste = loss given up
at equal C, as a share of compute. Run with `python -m tests.benchmarks.replay_size [seeds]`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from planner.arrays import Floats
from planner.fit.drifting import NOISE, Drifting, drifting
from planner.fit.laws import CHINCHILLA
from planner.observations import Observations
from planner.sweep.draws import Outlook
from planner.sweep.replay.buy import buy
from planner.sweep.replay.policies import CostRandomPolicy, RandomPolicy
from planner.sweep.replay.pool import Offer, Policy, Pool, Positions, Seen, Target
from tests.benchmarks import bench_extrapolation as sets
from tests.benchmarks.draws_design import DrawsDesign

LEVEL = 0.1
"""Decades of compute that make one IsoFLOP level."""
BUDGETS = (0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.2, 1.6, 2.4, 3.2, 4.8)
"""In runs of the target's C."""
COARSE = 5
"""Every so many of the sizes is looked at in a draw: .01 to .02 apart in ln N."""
LEAST = 4
"""Runs before anything is recommended."""


@dataclass(frozen=True)
class Question:
    """A pool with the flops per token of its sizes, and the best-known answer."""

    pool: Pool
    log_flops_per_token: Floats
    """Polynomial in ln N: how the table's own convention turns C and N into tokens."""
    log_sizes: Floats
    best_loss: Floats
    """ln loss of the best-known law at C over ``log_sizes``."""
    slope: float
    """-d ln L / d ln C of that law at its optimum."""

    def tokens(self, log_sizes: Floats, flops: float) -> Floats:
        """Return D of sizes at C."""
        return np.asarray(np.exp(np.log(flops) - np.polyval(self.log_flops_per_token, log_sizes)))

    def optimum(self, theta: Floats) -> Floats:
        """Return ln N* (S,) of Chinchilla parameters (S, 5) at the target's C."""
        sizes = self.log_sizes[::COARSE]
        d = self.tokens(sizes, self.pool.target.flops)
        losses = CHINCHILLA.predict(theta, np.exp(sizes), d)
        return np.asarray(sizes[losses.argmin(axis=-1)])

    def belief(self, seen: Seen) -> Drifting:
        """Return what was bought says of the law near the target."""
        return drifting(seen, seen.loss, self.pool.target.flops)

    def judge(self, log_size: float) -> tuple[float, float]:
        """Return the error of ln N and the compute wasted by it."""
        best = int(self.best_loss.argmin())
        given_up = np.interp(log_size, self.log_sizes, self.best_loss) - self.best_loss[best]
        return abs(log_size - float(self.log_sizes[best])), float(given_up / self.slope)


def top_level(flops: Floats) -> float:
    """Return the C of the highest level with five rows or more."""
    level = np.round(np.log10(flops) / LEVEL).astype(int)
    full = [v for v in np.unique(level) if (level == v).sum() >= 5]
    return float(np.median(flops[level == full[-1]]))


def question(name: str, runs: Observations) -> Question:
    """Set up one pool."""
    top = top_level(runs.flops)
    below = runs.flops < top * 10**-0.15
    kept = runs.take(below)
    # No lr and no batch is told of these runs; one value for all carries no information.
    untold = np.ones(len(kept))
    columns = kept.params, kept.tokens, untold, untold, kept.flops, kept.loss
    pool = Pool(*columns, target=Target(np.nan, np.nan, top))
    per_token = np.polyfit(np.log(runs.params), np.log(runs.flops / runs.tokens), 2)
    sizes = np.linspace(np.log(runs.params.min()), np.log(runs.params.max()), 2001)
    law = sets.law_named(sets.REFERENCE[name])
    theta = sets.solve_to_scale(runs, law).solution.theta
    unanswered = Question(pool, per_token, sizes, np.zeros(1), 1.0)
    levels = [
        np.log(law.predict(theta, np.exp(sizes), unanswered.tokens(sizes, c)))
        for c in (top, top * np.exp(0.1))
    ]
    slope = float(levels[0].min() - levels[1].min()) / 0.1
    return Question(pool, per_token, sizes, levels[0], slope)


@dataclass(frozen=True)
class IsoFlopGrid:
    """Whole IsoFLOP profiles, the cheapest level first, in a random order within a level."""

    name: str = "isoflop grid"

    def propose(
        self, offer: Offer, seen: Seen, target: Target, left: float, rng: np.random.Generator
    ) -> Positions:
        """Return all rows level by level."""
        level = np.round(np.log10(offer.flops) / LEVEL)
        return np.lexsort([rng.random(len(offer)), level])


def policies(asked: Question) -> tuple[Policy, ...]:
    """Return the policies of the row; the designs share everything but their aim."""
    near, top = asked.log_sizes[::200], asked.pool.target.flops
    at_top = Offer(
        np.exp(near), asked.tokens(near, top), near * np.nan, near * np.nan, near * 0 + top, near
    )

    def decision(belief: Drifting) -> Floats:
        return asked.optimum(belief.theta)[:, None]

    def losses(belief: Drifting) -> Floats:
        return belief.log_loss(at_top)

    def design(name: str, wanted: Callable[[Drifting], Floats], drift: bool) -> DrawsDesign:
        def outlook(seen: Seen, offer: Offer) -> Outlook:
            belief = asked.belief(seen)
            noise = belief.noise(offer) if drift else np.full(len(offer), NOISE)
            return Outlook(belief.log_loss(offer), wanted(belief), noise)

        return DrawsDesign(name, outlook)

    return (
        RandomPolicy(),
        CostRandomPolicy(),
        IsoFlopGrid(),
        design("v-optimal", losses, drift=False),
        design("no drift", decision, drift=False),
        design("decision", decision, drift=True),
    )


def path(asked: Question, policy: Policy, seed: int) -> Floats:
    """Return (error, waste) after every budget of one replay, shape (budgets, 2); nan: too few."""
    target, pool = asked.pool.target, asked.pool.drawn(seed)
    bought = buy(pool, policy, BUDGETS[-1] * target.flops, seed)
    rows = np.array([trial.shape["row"] for step in bought.rounds for trial in step.trials])
    spent = np.cumsum(pool.flops[rows])
    out = np.full((len(BUDGETS), 2), np.nan)
    for i, budget in enumerate(BUDGETS):
        paid = rows[spent <= budget * target.flops]
        if len(paid) >= LEAST:
            seen = pool.seen(np.sort(paid))
            log_sizes = asked.optimum(asked.belief(seen).theta)
            out[i] = asked.judge(float(np.median(log_sizes)))
    return out


def cheaper(errors: Floats, grid: Floats) -> str:
    """Say at which share of its FLOPs a policy makes the grid's error, at every grid budget.

    A policy is there from the first budget on which its error stays at or below; medians of few
    seeds go up and down.
    """
    worst_from = np.maximum.accumulate(np.nan_to_num(errors, nan=np.inf)[::-1])[::-1]
    grid_from = np.maximum.accumulate(np.nan_to_num(grid, nan=np.inf)[::-1])[::-1]
    shares = []
    for budget, error in zip(BUDGETS, grid_from, strict=True):
        there = np.flatnonzero(worst_from <= error)
        shares.append(f"{BUDGETS[there[0]] / budget:12.2f}x" if len(there) else f"{'-':>13s}")
    return "".join(shares)


def main(seeds: int, report: Callable[[str], None] = print) -> None:
    """Print error and waste against budget, per pool and policy."""
    if not sets.DATA.is_dir():
        report(f"skipped: {sets.DATA} is not there")
        return
    loaded = sets.load()
    for name in ("dclm", "chinchilla-240"):
        asked = question(name, loaded[name])
        target, best = asked.pool.target.flops, asked.log_sizes[asked.best_loss.argmin()]
        report(
            f"\n{name}: {len(asked.pool)} rows cost {asked.pool.flops.sum() / target:.3g}x of one "
            f"run at C = {target:.3g}; best known N {np.exp(best):.3g}"
        )
        report(f"{'median (90 %), budget':28s}" + "".join(f"{b:>12g}x" for b in BUDGETS))
        found = {
            policy.name: np.array([path(asked, policy, seed) for seed in range(seeds)])
            for policy in policies(asked)
        }
        half = {name: np.nanmedian(one[:, :, 0], axis=0) for name, one in found.items()}
        for policy, one in found.items():
            for k, what in enumerate(("|error of ln N|", "compute wasted")):
                middle, most = np.nanquantile(one[:, :, k], [0.5, 0.9], axis=0)
                cells = "".join(f"{a:6.3f} ({b:.2f})" for a, b in zip(middle, most, strict=True))
                report(f"{policy:12s} {what:15s}{cells}")
            report(f"{'':12s} {'of grid FLOPs':15s}" + cheaper(half[policy], half["isoflop grid"]))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
