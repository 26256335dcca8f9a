"""What further runs of a study would save of the target's regret, and what they cost.

    saves  = expected regret of the recommended lr and batch now, less that after the runs (nats)
    worth  = saves / NATS_PER_EFOLD * C_target       FLOPs of the target that buy as much loss

A run is worth training while its worth exceeds its price. Candidates: every affordable size and
horizon of the ladder, the batches of the space and one factor beyond, learning rates x2 apart from
a quarter of the lowest to four times the highest. Everything follows from the runs that have ended
and the seed of the space.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from planner.arrays import Floats
from planner.decide.evidence import hyper_runs
from planner.decide.hyper import snap_lr
from planner.decide.recommend import aim, recommend
from planner.fit.cells import usable
from planner.fit.hyper_fit import HyperFit
from planner.fit.joint import Columns, surface_of
from planner.fit.surface import Surface
from planner.run import Run, Trial
from planner.sweep.cells import Cell
from planner.sweep.design import Candidates, design
from planner.sweep.layout import CONFIRM_SHARE, batches
from planner.sweep.state import StudyState
from planner.sweep.trials import swept_trial

STAGE = "design"

NATS_PER_EFOLD = 0.05
"""Loss an e-fold of compute buys at a target: (L - E) alpha beta / (alpha + beta) with L - E of .3
nats and the exponents of Chinchilla's refit (Besiroglu 2024)."""

TOKENS_PER_PARAM = 20.0
"""Where the target is judged while no law says better (Hoffmann 2022)."""

SHOWN = 8
"""Entries of the ranked list."""

DEFAULT_REACH = 100.0
"""The target's compute over the ladder's largest where the space does not state it in FLOPs."""


@dataclass(frozen=True)
class Worth:
    """A run or a pair that belongs together, what it saves at the target and what that is worth."""

    trials: tuple[Trial, ...]
    flops: float
    saves_nats: float
    worth_flops: float

    @property
    def pays(self) -> bool:
        """Say whether the target gains more than the runs cost."""
        return self.worth_flops > self.flops

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "trials": [trial.to_json() for trial in self.trials],
            "flops": self.flops,
            "saves_nats": self.saves_nats,
            "worth_flops": self.worth_flops,
            "pays": self.pays,
        }


def further_runs(state: StudyState) -> list[Worth]:
    """Rank what a study could train next for the target's lr and batch: SHOWN entries, best first.

    Empty before the grid of the anchor has ended, when there is nothing to improve on.
    """
    if not state.runs_of("lr_batch"):
        return []
    question = Question.of(state)
    dearest = max(cell.flops for cell in state.layout.ladder)
    return question.ranked(SHOWN * dearest, SHOWN * dearest)[:SHOWN]


@dataclass(frozen=True)
class Question:
    """The surface of a study as it stands, and the target it is asked about."""

    state: StudyState
    hyper: HyperFit
    runs: tuple[Run, ...]

    @classmethod
    def of(cls, state: StudyState) -> Question:
        """Read the grids of a study."""
        by_stage = state.runs_by_stage
        return cls(state, state.hyper, tuple(usable(hyper_runs(by_stage))))

    @cached_property
    def target(self) -> tuple[float, float]:
        """N and D of the target."""
        stated = self.state.space.target.get("flops")
        flops = stated or DEFAULT_REACH * self.state.layout.c_max
        params = math.sqrt(flops / (6 * TOKENS_PER_PARAM))
        return params, TOKENS_PER_PARAM * params

    @cached_property
    def surface(self) -> Surface:
        """The posterior over the cells of the ladder and of the runs."""
        places = [(cell.size.params_matmul, float(cell.tokens)) for cell in self._cells]
        return surface_of(self.runs, self.hyper.prior, self.hyper.sigma_seed, places)

    @cached_property
    def regret(self) -> float:
        """Expected regret of today's recommendation, nats."""
        return recommend(self.surface, *self.target).expected_regret

    @property
    def _cells(self) -> list[Cell]:
        most = CONFIRM_SHARE * self.state.layout.c_max * (1 + 1e-9)
        return [cell for cell in self.state.layout.ladder if cell.flops <= most]

    def ranked(self, budget: float, at_least: float) -> list[Worth]:
        """Return what to run, best first: greedy, each given those before it."""
        trials, sizes, flops = self._candidates()
        rows = Columns.of(trials, sizes)
        rng = np.random.default_rng([self.state.space.seed, len(self.runs)])
        candidates = Candidates.of(self.surface, rows, flops, rng)
        root = aim(self.surface, *self.target)
        chosen = design(candidates, self.surface.covariance, root, budget=budget, at_least=at_least)
        price = 6 * self.target[0] * self.target[1] / NATS_PER_EFOLD
        return [
            Worth(tuple(trials[i] for i in c.rows), c.flops, c.saves, c.saves * price)
            for c in chosen
        ]

    def _candidates(self) -> tuple[list[Trial], list[float], Floats]:
        trials, sizes, flops = [], [], []
        for cell in self._cells:
            for trial in self._of_cell(cell):
                if self.state.key(trial) not in self.state.runs:
                    trials.append(trial)
                    sizes.append(cell.size.params_matmul)
                    flops.append(cell.size.flops(trial.tokens))
        return trials, sizes, np.array(flops)

    def _of_cell(self, cell: Cell) -> list[Trial]:
        space = self.state.space
        factor, known = space.batch_tokens.factor, batches(space)
        more = [2 ** round(math.log2(known[0] / factor)), 2 ** round(math.log2(known[-1] * factor))]
        lowest, longest = self.state.min_batch_tokens, cell.tokens // 100
        sound = [b for b in sorted({*known, *more}) if lowest <= b <= longest]
        low, high = math.log2(space.lr.low / 4), math.log2(space.lr.high * 4)
        rates = [snap_lr(2.0**power) for power in np.arange(low, high + 1e-9)]
        return [
            swept_trial(self.state, STAGE, cell, batch_tokens=batch, lr=lr)
            for batch in sound
            for lr in rates
        ]
