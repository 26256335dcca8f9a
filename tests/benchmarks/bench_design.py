"""Where the next run goes, judged by replays on the Step Law runs: `make bench-design`.

Run with `python -m tests.benchmarks.bench_design [--seeds 50] [--only PART]`, two processes at
most. Regrets are nats on the frozen surfaces. "blind" has everything fitted on these
runs switched off (`--without-prior steplaw`): the headline. Policies that look at no prior buy once
and are judged twice. All recommend from the same joint surface and differ in what they bought, but
for "v-optimal alone", which fits its own runs without a prior.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np

from planner.arrays import Floats
from planner.replay import POLICIES
from planner.sweep.replay.buy import buy
from planner.sweep.replay.joint import recommend
from planner.sweep.replay.pool import Pool, Target, pool_for
from planner.sweep.replay.score import Score, Study
from tests.benchmarks import replay_forms, replay_r2, replay_size, steplaw
from tests.benchmarks.equal_cost import again, interval, needed
from tests.benchmarks.regret_surface import RULES, frozen

Cell = tuple[float, float]
X: Cell = (round(steplaw.CELL_X[0], -3), steplaw.CELL_X[1])
OTHERS: tuple[Cell, ...] = (
    (X[0], 5.69e10),
    (X[0], 2e10),
    (536_873_000.0, 5e10),
    (536_873_000.0, 2.84e10),
)
X_CAP, X_BUDGETS = 0.03, (0.03, 0.1, 0.3)
CAP, BUDGET = 0.3, 0.5
WORKERS = 2
LOOKS_AT_PRIORS = ("ours", "v-optimal")
SETTINGS = {"with": "", "blind": "steplaw"}
USUAL = "v-optimal alone"
"""V-optimal as it is usually run: what it buys and what it recommends come from its own fit of the
runs, beliefs no more than orders of magnitude (`--without-prior all`)."""
EQUAL = {
    "ours": (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3),
    "v-optimal": (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.6),
    USUAL: (0.03, 0.05, 0.1, 0.2, 0.3, 0.6, 1.0, 2.0),
    "random": (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.6, 1.0, 2.0),
    "tpe": (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.6, 1.0),
}
"""Budgets on cell X at which the compute for equal regret is looked up."""
LEVELS = (0.01, 0.007, 0.005, 0.003, 0.002)
"""Median regrets in nats; below .002 medians of 25 seeds go up and down with the budget."""


@dataclass(frozen=True)
class Case:
    """One replay setting: a cell with its cap and budget in target runs, a policy, the seeds."""

    cell: Cell
    cap: float
    budget: float
    policy: str
    seeds: int


@cache
def pool_of(cell: Cell, cap: float) -> Pool:
    """Return the proxies of a cell under a cap."""
    flops = 6.0 * cell[0] * cell[1]
    return pool_for(steplaw.measured(steplaw.load()), Target(*cell, flops), cap * flops)


def run(case: Case) -> tuple[dict[str, Score], float]:
    """Replay one case under both settings; also return its CPU seconds."""
    start = time.process_time()
    pool = pool_of(case.cell, case.cap)
    flops = case.budget * pool.target.flops
    study = Study(pool, flops, frozen()[case.cell])
    usual = case.policy == USUAL
    make = POLICIES["v-optimal" if usual else case.policy]
    scores, bought = {}, []
    for name, without in ({"blind": "all"} if usual else SETTINGS).items():
        if not bought or case.policy in LOOKS_AT_PRIORS:
            policy = make(without)
            bought = [buy(pool.drawn(s), policy, flops, s).seen for s in range(case.seeds)]
        scores[name] = study.judge(bought, recommend, without)
    return scores, time.process_time() - start


def run_all(cases: Sequence[Case]) -> dict[Case, tuple[dict[str, Score], float]]:
    """Run cases over the workers."""
    with ProcessPoolExecutor(WORKERS) as workers:
        return dict(zip(cases, workers.map(run, cases), strict=True))


def regrets(seeds: int) -> None:
    """Print median, 90th percentile and mean regret per cell, budget, policy and setting."""
    places = [(X, X_CAP, budget) for budget in X_BUDGETS] + [(c, CAP, BUDGET) for c in OTHERS]
    found = run_all([Case(*place, policy, seeds) for place in places for policy in POLICIES])
    surfaces = frozen()
    for cell, cap, budget in places:
        rules = [
            f"{name} {float(surfaces[cell].regret(*rule(*cell))):.4f}"
            for name, (rule, _) in RULES.items()
        ]
        print(
            f"\nN {cell[0]:.4g} D {cell[1]:.4g}, proxies <= {cap:g}x, budget {budget:g}x, "
            f"{len(pool_of(cell, cap))} rows\n  rules: {'; '.join(rules)}"
        )
        for policy in POLICIES:
            scores, seconds = found[Case(cell, cap, budget, policy, seeds)]
            print(
                f"  {policy:12s}" + "".join(_cells(name, s) for name, s in scores.items()), end=""
            )
            print(f"  | {seconds / seeds:.2f} s a seed")


def _cells(name: str, score: Score) -> str:
    held = score.coverage()
    return (
        f"  | {name}: median {score.quantile(0.5):.4f} 90 % {score.quantile(0.9):.4f} mean "
        f"{np.mean(score.regrets):.4f} runs {np.mean(score.runs):3.0f} cover 80/90 lr "
        f"{held['lr']['80']:.2f}/{held['lr']['90']:.2f} B {held['batch']['80']:.2f}/"
        f"{held['batch']['90']:.2f}"
    )


def equal(seeds: int) -> None:
    """Print the budget each policy needs for a median regret, blind, on cell X."""
    cases = {(p, b): Case(X, X_CAP, b, p, seeds) for p, budgets in EQUAL.items() for b in budgets}
    found = run_all(list(cases.values()))
    paid = {
        policy: np.array([found[cases[policy, b]][0]["blind"].regrets for b in budgets]).T
        for policy, budgets in EQUAL.items()
    }
    tell_equal(paid)


def tell_equal(paid: Mapping[str, Floats]) -> None:
    """Print what regrets (seeds, budgets) per policy say, with 90 % intervals over seeds."""
    print("\ncompute for equal regret, blind, cell X: median regret by budget (90 % interval)")
    medians = {policy: np.median(again(regrets), axis=1) for policy, regrets in paid.items()}
    for policy, median in medians.items():
        cells = zip(EQUAL[policy], median[0], *interval(median[1:]), strict=True)
        print(
            f"  {policy:16s}"
            + "  ".join(f"{b:g}x {m:.4f} ({low:.4f}-{high:.4f})" for b, m, low, high in cells)
        )
    for level in LEVELS:
        needs = {policy: needed(m, EQUAL[policy], level) for policy, m in medians.items()}
        print(f"  a median of {level:g} nats from: " + "; ".join(_ratio(p, needs) for p in needs))


def _ratio(policy: str, needs: Mapping[str, Floats]) -> str:
    """Say a need, and as a multiple of ours; a resample in which neither gets there is left out."""
    need, ours = needs[policy], needs["ours"]
    told = f"{policy} {need[0]:g}x" if np.isfinite(need[0]) else f"{policy} never"
    if policy == "ours":
        return told
    reached = np.isfinite(need) | np.isfinite(ours)
    if not reached[1:].any():
        return told
    low, high = interval(need[1:][reached[1:]] / ours[1:][reached[1:]])
    return f"{told} ({low:.3g} to {high:.3g} of ours)"


PARTS: dict[str, Callable[[int], None]] = {
    "regrets": regrets,
    "equal": lambda seeds: equal(max(1, seeds // 2)),
    "size": lambda seeds: replay_size.main(max(1, seeds // 5)),
    "r2": lambda seeds: replay_r2.main(max(1, seeds // 5)),
    "forms": lambda _: replay_forms.main(),
}
"""The tables, with how many of the seeds each takes."""


def main() -> None:
    """Print the tables asked for."""
    if not steplaw.DATA.is_dir():
        print(f"skipped: {steplaw.DATA} is not there")
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--only", choices=PARTS)
    asked = parser.parse_args()
    for name, part in PARTS.items():
        if asked.only in (None, name):
            part(asked.seeds)


if __name__ == "__main__":
    main()
