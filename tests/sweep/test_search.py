"""TPE sweeps a few cells it can afford and learns where their losses are low."""

from __future__ import annotations

import numpy as np

from planner.sweep.replay.buy import buy
from planner.sweep.replay.pool import Target, cell_labels, pool_for
from planner.sweep.search import CELLS, RUNS, TpePolicy
from tests.sweep.replay_world import TARGET, best, table

FLOPS = 6 * TARGET[0] * TARGET[1]


def bought(budget: float, seed: int = 0):
    pool = pool_for(table(), Target(*TARGET, FLOPS))
    return buy(pool, TpePolicy(), budget * FLOPS, seed)


def test_it_keeps_to_a_few_cells_of_different_size_and_horizon():
    seen = bought(1.0).seen
    cells = np.unique(np.stack([seen.params, seen.tokens], axis=1), axis=0)
    assert 1 < len(cells) <= CELLS
    assert all(len(np.unique(column)) == len(cells) for column in cells.T)
    assert np.bincount(cell_labels(seen.params, seen.tokens)).max() >= RUNS


def test_a_budget_for_less_than_a_sweep_buys_the_cheapest_cell():
    seen = bought(0.03).seen
    assert len(np.unique(seen.flops)) == 1
    assert seen.flops[0] == pool_for(table(), Target(*TARGET, FLOPS)).flops.min()


def test_later_rounds_lie_nearer_the_optimum():
    off = {True: [], False: []}
    for seed in range(4):
        found = bought(1.0, seed)
        pool = pool_for(table(), Target(*TARGET, FLOPS))
        for step in found.rounds:
            rows = [trial.shape["row"] for trial in step.trials]
            log_lr, _ = best(pool.params[rows], pool.tokens[rows])
            off[step.number > 10] += np.abs(np.log(pool.lr[rows]) - log_lr).tolist()
    assert np.mean(off[True]) < 0.85 * np.mean(off[False])
