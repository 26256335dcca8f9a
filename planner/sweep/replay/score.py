"""How good a policy is: the regret of what it recommends, over the tables many seeds draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from planner.fit.regret import RegretSurface
from planner.sweep.replay.buy import buy
from planner.sweep.replay.pool import Policy, Pool, Seen
from planner.sweep.replay.recommend import LEVELS, Interval, Recommended, Recommender


@dataclass(frozen=True)
class Score:
    """What came of one replay per seed; regrets are nats.

    ``best_lr`` is the target's best learning rate at each recommended batch, ``best_batch`` its
    best batch.
    """

    recommended: tuple[Recommended, ...]
    regrets: tuple[float, ...]
    flops_used: tuple[float, ...]
    runs: tuple[int, ...]
    best_lr: tuple[float, ...]
    best_batch: float

    def coverage(self) -> dict[str, dict[str, float]]:
        """Return the share of seeds whose interval holds what is best, per level."""
        batches = [self.best_batch] * len(self.regrets)
        lr, batch = (
            {
                str(level): _share([getattr(r, name)[level] for r in self.recommended], truths)
                for level in LEVELS
            }
            for name, truths in (("lr_interval", self.best_lr), ("batch_interval", batches))
        )
        return {"lr": lr, "batch": batch}

    def quantile(self, share: float) -> float:
        """Return a quantile of the regrets."""
        return float(np.quantile(self.regrets, share))

    def to_json(self) -> dict[str, Any]:
        """Return the score as plain data (contracts.md section 6); an infinite regret is null."""
        return {
            "regret_unit": "nats_per_token",
            "regrets": [_finite(r) for r in self.regrets],
            "median_regret": _finite(self.quantile(0.5)),
            "p90_regret": _finite(self.quantile(0.9)),
            "flops_used": list(self.flops_used),
            "runs_used": list(self.runs),
            "recommended": [{"lr": r.lr, "batch_tokens": r.batch_tokens} for r in self.recommended],
            "coverage": self.coverage(),
        }


@dataclass(frozen=True)
class Study:
    """A question to replay: a pool, what may be spent on it, and the surface that judges."""

    pool: Pool
    budget: float
    surface: RegretSurface

    def replay(
        self, policy: Policy, recommend: Recommender, without: str, seeds: Sequence[int]
    ) -> Score:
        """Replay every seed and score what is recommended."""
        bought = [buy(self.pool.drawn(seed), policy, self.budget, seed) for seed in seeds]
        return self.judge([b.seen for b in bought], recommend, without)

    def judge(self, bought: Sequence[Seen], recommend: Recommender, without: str) -> Score:
        """Score what is recommended from each purchase."""
        found = tuple(recommend(seen, self.pool.target, without) for seen in bought)
        return Score(
            found,
            tuple(float(self.surface.regret(r.lr, r.batch_tokens)) for r in found),
            tuple(float(seen.flops.sum()) for seen in bought),
            tuple(len(seen) for seen in bought),
            tuple(self.surface.best_lr(r.batch_tokens) for r in found),
            float(np.exp(self.surface.best[1])),
        )


def _share(intervals: Sequence[Interval], truths: Sequence[float]) -> float:
    pairs = zip(intervals, truths, strict=True)
    return float(np.mean([low <= truth <= high for (low, high), truth in pairs]))


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
