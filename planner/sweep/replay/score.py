"""How good a policy is: the regret of what it recommends, over the tables many seeds draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from planner.fit.regret import RegretSurface
from planner.sweep.replay.buy import buy
from planner.sweep.replay.pool import Policy, Pool
from planner.sweep.replay.recommend import LEVELS, Interval, Recommended, Recommender


@dataclass(frozen=True)
class Score:
    """What came of one replay per seed; regrets are nats, ``best`` is (lr*, B*) of the target."""

    recommended: tuple[Recommended, ...]
    regrets: tuple[float, ...]
    flops_used: tuple[float, ...]
    runs: tuple[int, ...]
    best: tuple[float, float]

    def coverage(self) -> dict[str, dict[str, float]]:
        """Return the share of seeds whose interval holds the target's own optimum, per level."""
        lr, batch = self.best
        return {
            "lr": {
                str(k): self._share([r.lr_interval[k] for r in self.recommended], lr)
                for k in LEVELS
            },
            "batch": {
                str(k): self._share([r.batch_interval[k] for r in self.recommended], batch)
                for k in LEVELS
            },
        }

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

    @staticmethod
    def _share(intervals: Sequence[Interval], truth: float) -> float:
        return float(np.mean([low <= truth <= high for low, high in intervals]))


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
        found, regrets, flops, runs = [], [], [], []
        for seed in seeds:
            bought = buy(self.pool.drawn(seed), policy, self.budget, seed)
            one = recommend(bought.seen, self.pool.target, without)
            found.append(one)
            regrets.append(float(self.surface.regret(one.lr, one.batch_tokens)))
            flops.append(bought.flops)
            runs.append(len(bought.seen))
        lr, batch = np.exp(self.surface.best)
        return Score(
            tuple(found), tuple(regrets), tuple(flops), tuple(runs), (float(lr), float(batch))
        )


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
