"""Replay of the *size* decision: runs bought one by one, the size of the top C level asked for.

Pools and the best-known answer: :mod:`tests.benchmarks.size_question`. The grid takes all levels of
the table, or spaced ones. Two comparisons: whatever was bought, the same recommender answers (the
posterior of :mod:`tests.benchmarks.size_answers`); or each answers by the analysis it usually comes
with, the grid by parabolas, V-optimal by the plain law. "decision" is what `planner next` does.
Figures are the median and the mean of |ln N - ln N*| and the mean compute wasted; then the share of
the grid's FLOPs for which a policy makes its error (:mod:`tests.benchmarks.equal_cost`).
Run with `python -m tests.benchmarks.replay_size [seeds]`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from planner.arrays import Floats
from planner.fit.drifting import NOISE, Drifting
from planner.sweep.draws import Outlook
from planner.sweep.replay.buy import buy
from planner.sweep.replay.policies import RandomPolicy
from planner.sweep.replay.pool import Offer, Policy, Positions, Seen, Target
from tests.benchmarks import bench_extrapolation as sets
from tests.benchmarks.draws_design import DrawsDesign
from tests.benchmarks.equal_cost import again, interval, needed, worst_from
from tests.benchmarks.size_answers import ANSWERS, Belief, believed, optimum, plainly
from tests.benchmarks.size_question import LEVEL, Question, question

POOLS = ("dclm", "chinchilla-240")
BUDGETS = (
    *(0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.25, 0.3, 0.4),
    *(0.5, 0.6, 0.8, 1.0, 1.2, 1.6, 2.0, 2.4, 3.2, 4.8),
)
"""In runs of the target's C."""
GRID_BUDGETS = (0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.2, 1.6, 2.4)
"""Where the grid's error is looked up; less cannot be told, for .4x of it buys too few runs."""
LEAST = 4
"""Runs before anything is recommended."""
PROFILE, APART = 4, 4
"""Rows that make a profile, and LEVELs between the profiles of a spaced grid."""
START = 0.07
"""The designs' first rows come from this share of the offer, the cheapest: as good as a quarter on
farseer and planted worlds from .1x on, and answers come sooner."""
GRID = "isoflop grid"
WIDTH = 26
MIDDLES: tuple[Callable[[Floats], Floats], ...] = (
    lambda tables: np.median(tables, axis=1),
    lambda tables: tables.mean(axis=1),
)
"""Over the seeds of tables (R, seeds, budgets)."""


@dataclass(frozen=True)
class IsoFlopGrid:
    """Whole IsoFLOP profiles, the cheapest level first, in a random order within a level.

    With ``apart`` those of PROFILE rows that lie so many LEVELs from the one before come first, as
    a user would plan them; a table may hold levels a quarter of that apart.
    """

    name: str = GRID
    apart: int = 0

    def propose(
        self, offer: Offer, seen: Seen, target: Target, left: float, rng: np.random.Generator
    ) -> Positions:
        """Return all rows level by level."""
        level = np.round(np.log10(offer.flops) / LEVEL).astype(int)
        first: list[int] = []
        for one, rows in zip(*np.unique(level, return_counts=True), strict=True):
            if rows >= PROFILE and (not first or one >= first[-1] + self.apart):
                first.append(int(one))
        later = ~np.isin(level, first) if self.apart else np.zeros(len(offer), dtype=bool)
        return np.lexsort([rng.random(len(offer)), level, later])


def policies(asked: Question) -> tuple[tuple[Policy, tuple[str, ...]], ...]:
    """Return the policies of the row, each with whose answers are judged."""
    near, top = asked.log_sizes[::200], asked.pool.target.flops
    at_top = Offer(
        np.exp(near), asked.tokens(near, top), near * np.nan, near * np.nan, near * 0 + top, near
    )

    def decision(belief: Drifting) -> Floats:
        return optimum(asked, belief)[:, None]

    def losses(belief: Drifting) -> Floats:
        return belief.log_loss(at_top)

    def design(
        name: str, wanted: Callable[[Drifting], Floats], drift: bool, beliefs: Belief = believed
    ) -> DrawsDesign:
        def outlook(seen: Seen, offer: Offer) -> Outlook:
            belief = beliefs(asked, seen)
            noise = belief.noise(offer) if drift else np.full(len(offer), NOISE)
            return Outlook(belief.log_loss(offer), wanted(belief), noise)

        return DrawsDesign(name, outlook, cheap=START)

    ours = ("posterior",)
    return (
        (RandomPolicy(), ours),
        (IsoFlopGrid(), ("posterior", "parabolas")),
        (IsoFlopGrid(f"{GRID} spaced", APART), ("posterior", "parabolas")),
        (design("v-optimal alone", losses, False, plainly), ("plain law",)),
        (design("v-optimal", losses, False), ours),
        (design("no drift", decision, False), ours),
        (design("decision", decision, True), ours),
    )


def path(asked: Question, policy: Policy, answers: tuple[str, ...], seed: int) -> Floats:
    """Return (error, waste) after every budget of one replay, (answers, budgets, 2).

    inf where the budget pays too few runs.
    """
    target, pool = asked.pool.target, asked.pool.drawn(seed)
    bought = buy(pool, policy, BUDGETS[-1] * target.flops, seed)
    rows = np.array([trial.shape["row"] for step in bought.rounds for trial in step.trials])
    spent = np.cumsum(pool.flops[rows])
    out = np.full((len(answers), len(BUDGETS), 2), np.inf)
    known = 0
    for i, budget in enumerate(BUDGETS):
        paid = rows[spent <= budget * target.flops]
        if len(paid) == known:
            out[:, i] = out[:, i - 1] if i else np.inf
        elif len(paid) >= LEAST:
            seen = pool.seen(np.sort(paid))
            out[:, i] = [asked.judge(ANSWERS[name](asked, seen)) for name in answers]
        known = len(paid)
    return out


def replayed(asked: Question, seeds: int) -> dict[str, Floats]:
    """Return (error, waste) per policy and answer, (seeds, budgets, 2)."""
    found: dict[str, Floats] = {}
    for policy, answers in policies(asked):
        paths = np.array([path(asked, policy, answers, seed) for seed in range(seeds)])
        for k, answer in enumerate(answers):
            name = (
                policy.name
                if len(answers) == 1 or not k
                else f"{policy.name}, {answer}".removeprefix("isoflop ")
            )
            found[name] = paths[:, k]
    return found


def tell_errors(found: Mapping[str, Floats], report: Callable[[str], None]) -> None:
    """Print median error, mean error and mean waste by budget; "-": some seed has too few runs."""
    report(f"{'budget':>7s}" + "".join(f"{name:>{WIDTH}s}" for name in found))
    for i, budget in enumerate(BUDGETS):
        cells = []
        for one in found.values():
            middle, mean, waste = np.median(one[:, i, 0]), *one[:, i].mean(axis=0)
            told = f"{middle:.3f} {mean:.3f} {waste:7.1%}" if np.isfinite(mean) else "-"
            cells.append(f"{told:>{WIDTH}s}")
        report(f"{budget:6g}x" + "".join(cells))


def tell_shares(found: Mapping[str, Floats], report: Callable[[str], None]) -> None:
    """Print at which share of its FLOPs a policy makes the grid's error.

    For median errors with a 90 % interval, then for mean errors; "-" where some seed's grid has too
    few runs.
    """
    tables = {name: again(one[:, :, 0]) for name, one in found.items()}
    middles = [{n: worst_from(of(t)) for n, t in tables.items()} for of in MIDDLES]
    for grid in (name for name in found if "grid" in name):
        report(f"{grid}: share of its FLOPs for its median error (90 %), for its mean error")
        report(f"{'its':>7s}" + "".join(f"{name:>{WIDTH}s}" for name in found))
        for i, budget in ((BUDGETS.index(budget), budget) for budget in GRID_BUDGETS):
            cells = []
            for name in found:
                needs = (needed(errors[name], BUDGETS, errors[grid][:, i]) for errors in middles)
                half, mean = (need / budget for need in needs)
                low, high = interval(half[1:])
                told = f"{half[0]:.2f} ({low:.2f}-{high:.2f}) {mean[0]:.2f}"
                cells.append(told if np.isfinite(middles[1][grid][0, i]) else "-")
            report(f"{budget:6g}x" + "".join(f"{cell:>{WIDTH}s}" for cell in cells))


def main(seeds: int, report: Callable[[str], None] = print) -> None:
    """Print errors and shares per pool."""
    if not sets.DATA.is_dir():
        report(f"skipped: {sets.DATA} is not there")
        return
    loaded = sets.load()
    for name in POOLS:
        asked = question(name, loaded[name])
        target = asked.pool.target.flops
        few = np.sort(asked.pool.flops)[:LEAST].sum() / target
        report(
            f"\n{name}: {len(asked.pool)} rows cost {asked.pool.flops.sum() / target:.3g}x of one "
            f"run at C = {target:.3g}, the {LEAST} cheapest {few:.3g}x; best known N "
            f"{np.exp(asked.log_best):.3g}, sd of ln N {asked.doubt:.3f}; {seeds} seeds"
        )
        found = replayed(asked, seeds)
        tell_errors(found, report)
        tell_shares(found, report)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
