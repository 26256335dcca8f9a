"""Optuna's TPE as a policy: the one module that knows Optuna.

TPE minimises one loss over lr and batch, and losses of different (N, D) do not compare. So it
sweeps up to three cells, one study each: the dearest that a share of the budget pays RUNS of, of
different N and D where the table has them. Every proposal snaps to the cell's nearest row that is
left; a diverged run is a trial with an infinite loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.arrays import Flags, Floats
from planner.sweep.replay.pool import Offer, Positions, Seen, Target, same_cell

CELLS = 3
RUNS = 16
"""Runs a cell is worth sweeping for: TPE's own ten random ones, and a few it learns from."""

Cell = tuple[float, float]


@dataclass(frozen=True)
class TpePolicy:
    """Tree-structured Parzen estimators (Bergstra 2011) over ln lr and ln batch, cell by cell."""

    name: str = "tpe"

    def propose(
        self, offer: Offer, seen: Seen, target: Target, left: float, rng: np.random.Generator
    ) -> Positions:
        """Return one row per swept cell, each asked of its own study."""
        seed = int(rng.integers(2**31))
        wanted = []
        for cell in _cells(offer, seen, left + float(seen.flops.sum())):
            there = np.flatnonzero(same_cell(offer.params, offer.tokens, cell))
            if len(there):
                done = same_cell(seen.params, seen.tokens, cell)
                wanted.append(_ask(offer, there, seen, done, seed))
        return np.array(wanted, dtype=np.intp)


def _cells(offer: Offer, seen: Seen, budget: float) -> list[Cell]:
    """Return the cells to sweep: those begun, else the dearest affordable ones that differ."""
    begun = np.unique(np.stack([seen.params, seen.tokens], axis=1), axis=0)
    if len(begun):
        return [(float(n), float(d)) for n, d in begun]
    order = np.lexsort([offer.params, -offer.flops])
    chosen: list[Cell] = []
    for share in (budget / CELLS, budget):
        for i in order[offer.flops[order] * RUNS <= share]:
            cell = (float(offer.params[i]), float(offer.tokens[i]))
            if len(chosen) < CELLS and all(n != cell[0] and d != cell[1] for n, d in chosen):
                chosen.append(cell)
        if chosen:
            return chosen
    cheapest = int(offer.flops.argmin())
    return [(float(offer.params[cheapest]), float(offer.tokens[cheapest]))]


def _ask(offer: Offer, there: Positions, seen: Seen, done: Flags, seed: int) -> int:
    """Return the row of a cell nearest to what its study proposes next."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rows = _log(offer.lr[there], offer.batch_tokens[there])
    told = _log(seen.lr[done], seen.batch_tokens[done])
    everywhere = np.concatenate([rows, told])
    low, high = everywhere.min(axis=0), everywhere.max(axis=0) + 1e-9
    space: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.FloatDistribution(float(low[i]), float(high[i]))
        for i, name in enumerate(("lr", "batch"))
    }
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    losses = np.where(np.isfinite(seen.loss[done]), seen.loss[done], np.inf)
    for (lr, batch), loss in zip(told, losses, strict=True):
        study.add_trial(
            optuna.trial.create_trial(
                params={"lr": float(lr), "batch": float(batch)},
                distributions=space,
                value=float(loss),
            )
        )
    asked = study.ask(space).params
    distance = ((rows - [asked["lr"], asked["batch"]]) / (high - low)) ** 2
    return int(there[distance.sum(axis=1).argmin()])


def _log(lr: Floats, batch: Floats) -> Floats:
    return np.log(np.stack([lr, batch], axis=1))
