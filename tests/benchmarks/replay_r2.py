"""Fit on 10 % of the train FLOPs, R2 in the test region: a row of the active-experiment benchmark.

Tasks of scalebench. A seed draws its table and its first rows; a design buys from train until 10 %
of train's 6ND are spent; a law fitted to what was bought predicts test; R2 = 1 - SSE / SST there.
Run with `python -m tests.benchmarks.replay_r2 [seeds]`.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from planner.arrays import Floats
from planner.fit.drifting import wrong_by
from planner.fit.engine import fit_loss
from planner.fit.floors import SCATTER
from planner.fit.law_fit import LawFit, fit_law
from planner.fit.laws import Law
from planner.fit.points import Points
from planner.fit.registry import law_named
from planner.sweep.draws import Outlook
from planner.sweep.replay.buy import buy
from planner.sweep.replay.joint import (
    JointDesign,
    cells_of,
    losses_at,
    posterior,
    regret,
    target_losses,
)
from planner.sweep.replay.policies import CostRandomPolicy, GridPolicy, RandomPolicy
from planner.sweep.replay.pool import Offer, Policy, Pool, Seen, Target, same_cell
from tests.benchmarks import steplaw
from tests.benchmarks.bench_extrapolation import observations
from tests.benchmarks.draws_design import DrawsDesign

DATA = Path("../shared/data")
SHARE = 0.1
"""Share of the train FLOPs that may be bought."""
DRIFT = 0.012
"""sd of ln loss per decade by which a law is wrong about the loss itself: 4 % of L - E (science
F4.4), for the usual L - E of .3 L."""
TASKS = {"data_constrained": ("data-constrained", 0.86, 0.86), "farseer": ("farseer", 0.93, 0.88)}
"""Task to its law, the target and the reference R2 of active-sl."""


@dataclass(frozen=True)
class Task:
    """Train as a pool and test; ``batch_tokens`` holds the unique tokens where the law has them."""

    train: Pool
    test: Seen
    law: Law

    def fit(self, seen: Seen, drift: float = 0.0) -> LawFit:
        """Fit the task's law to what was bought; where it drifts, runs far below count less."""
        extra = seen.batch_tokens if self.law.extra else None
        weights = wrong_by(seen.flops, self.train.target.flops, drift) ** -2.0
        columns = seen.params, seen.tokens, seen.loss, weights / weights.mean()
        points = Points.of(*columns, extra=extra)
        return fit_law(points, self.law, None, tuple(map(str, range(len(seen)))), 0)

    def log_loss(self, theta: Floats, runs: Seen | Offer) -> Floats:
        """Return ln L (..., n)."""
        extra = runs.batch_tokens if self.law.extra else None
        return np.asarray(np.log(self.law.predict(theta, runs.params, runs.tokens, extra)))

    def r2(self, seen: Seen) -> float:
        """Return the score of a law that drifts, fitted to what was bought."""
        theta = self.fit(seen, DRIFT).solution.theta
        return r_squared(np.exp(self.log_loss(theta, self.test)), self.test.loss)

    def outlook(self, seen: Seen, offer: Offer, drift: float) -> Outlook:
        """Return what the law says of rows on offer and of the test region."""
        theta = self.fit(seen).theta
        wanted = self.log_loss(theta, self.test)
        sound = np.isfinite(wanted).all(axis=1)
        noise = wrong_by(offer.flops, self.train.target.flops, drift)
        return Outlook(self.log_loss(theta[sound], offer), wanted[sound], noise)

    def designs(self) -> tuple[Policy, ...]:
        """Return the policies compared; the design aims at the losses of the test region."""

        def outlook(drift: float) -> Callable[[Seen, Offer], Outlook]:
            return lambda seen, offer: self.outlook(seen, offer, drift)

        first = self.law.least_rows + 4
        designs = (
            DrawsDesign(name, outlook(drift), first=first, step=8)
            for name, drift in (("v-optimal", 0.0), ("with drift", DRIFT))
        )
        return RandomPolicy(), CostRandomPolicy(), GridPolicy(), *designs


def r_squared(predicted: Floats, seen: Floats) -> float:
    """Return 1 - SSE / SST."""
    return float(1.0 - ((predicted - seen) ** 2).sum() / ((seen - seen.mean()) ** 2).sum())


def load(task: str) -> Task:
    """Return a task of scalebench that is a law of N and D."""
    train, test = (_runs(task, part) for part in ("train", "test"))
    pool = Pool(**vars(train), target=Target(np.nan, np.nan, float(test.flops.max())))
    return Task(pool, test, law_named(TASKS[task][0]))


def _runs(task: str, part: str) -> Seen:
    frame = pd.read_parquet(DATA / f"scalebench/{task}/{part}-00000-of-00001.parquet")
    frame = frame.rename(columns={"N": "params", "D": "tokens"})
    n, d = (frame[name].to_numpy(float) for name in ("params", "tokens"))
    # What is not told is one value for all rows: it carries no information, and a trial needs it.
    unique = frame.get("unique_tokens", pd.Series(1.0, frame.index)).to_numpy(float)
    return Seen(n, d, unique, np.ones(len(frame)), 6 * n * d, frame["loss"].to_numpy(float))


def lr_bsz() -> tuple[Pool, Seen]:
    """Return train and test of lr_bsz for a recommender's own loss surface."""
    train, test = (steplaw.as_runs(steplaw.scalebench(part)) for part in ("train", "test"))
    n, d = steplaw.CELL_X
    return Pool(**vars(train), target=Target(n, d, 6 * n * d)), test


def joint_r2(pool: Pool, test: Seen, seen: Seen) -> float:
    """Return the score of the joint surface, its floors carried on by the laws' average.

    Floors of cells with few runs are weighed by what their sd leaves beside the law's own scatter.
    """
    cells = cells_of(seen, test)
    surface = posterior(seen, cells, pool.target, "steplaw")
    floor, sd = surface.floors()
    known = ~same_cell(*cells.T, (pool.target.params, pool.target.tokens))
    n, d = cells[known].T
    floors = observations(n, d, 6 * n * d, floor[known])
    law = fit_loss(floors, weights=1.0 / (sd[known] ** 2 + SCATTER**2))
    level = law.predict(test.params[:1], test.tokens[:1])[0].value
    return r_squared(level + surface.excess(test, surface.mean), test.loss)


def score(pool: Pool, policy: Policy, r2: Callable[[Seen], float], seeds: int) -> Floats:
    """Return R2 (seeds,) on SHARE of the FLOPs of all train rows."""
    budget = SHARE * float(pool.flops.sum())
    return np.array([r2(buy(pool.drawn(s), policy, budget, s).seen) for s in range(seeds)])


def main(seeds: int, report: Callable[[str], None] = print) -> None:
    """Print mean R2 per task and policy."""
    if not DATA.is_dir():
        report(f"skipped: {DATA} is not there")
        return
    warnings.simplefilter("ignore", RuntimeWarning)
    for name, (law, wanted, reference) in TASKS.items():
        task = load(name)
        full = task.r2(task.train.seen(np.ones(len(task.train), dtype=bool)))
        report(f"\n{name}, {law}: all rows R2 {full:.3f}; target {wanted}, reference {reference}")
        for policy in task.designs():
            _tell(policy, score(task.train, policy, task.r2, seeds), report)
    pool, test = lr_bsz()
    full = joint_r2(pool, test, pool.seen(np.ones(len(pool), dtype=bool)))
    report(f"\nlr_bsz, joint surface, blind: all rows R2 {full:.3f}; target 0.6, reference 0.22")
    designs = (
        JointDesign("ours", regret, "steplaw"),
        JointDesign("v-optimal", target_losses, "steplaw"),
        JointDesign("predict", losses_at(test), "steplaw", law=True),
    )
    for policy in (RandomPolicy(), CostRandomPolicy(), GridPolicy(), *designs):
        _tell(policy, score(pool, policy, lambda seen: joint_r2(pool, test, seen), seeds), report)


def _tell(policy: Policy, found: Floats, report: Callable[[str], None]) -> None:
    report(f"  {policy.name:12s} mean R2 {found.mean():6.3f}  worst {found.min():6.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
