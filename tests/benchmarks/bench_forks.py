"""What a WSD fork ladder costs and saves against runs tuned one by one, and its bias in N*.

Three sizes x four horizons within a factor 4 (gpt proxy, embedded text, CPU). Learning rate and
batch of every cell are tuned once, on seed 0, by a x2 grid in lr at two batches, with two more
seeds in the middle cell, and read by the product's own fit (`fit.transfer.fit_hyper`). Then, per
seed: every cell by itself at its best lr, at the batch of TUNED with the lower mean; and the fork
ladder as the product makes it, one trunk a size (`decide.hyper.trunk_hyper`: the batch for the
shortest horizon, the rest for the geometric middle), one cooldown a horizon, as it comes and with
what the product knows of its regret taken off (`HyperFit.known_regret`). A second trunk a size
would save 31 % of the tokens instead of 45.

N* at the middle compute, ladder against tuned runs, from one fit to the losses of both:

    L = E + A N^-alpha + B D^-beta,  E, alpha, beta common, A and B each their own
    shift of ln N* = (shift of ln A - shift of ln B) / (alpha + beta)

Two fits with five unknowns each would differ by what they make of the noise. The mean is over the
seeds' average losses, its standard error from seeds drawn with replacement.

    python -m tests.benchmarks.bench_forks [SEEDS] [FOLDER]     (about 30 minutes of one core)
"""

from __future__ import annotations

import math
import sys
from itertools import product
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

from planner.arrays import Floats
from planner.decide.hyper import snap_lr, trunk_hyper
from planner.fit.hyper_fit import HyperFit
from planner.fit.transfer import fit_hyper
from planner.run import Trial
from planner.sweep.cells import Cell
from planner.sweep.trials import fork_of, trial_of, trunk_of
from tests.benchmarks.trainer import Trainer

WIDTHS = (16, 32, 48)
HORIZONS = (256_000, 400_000, 640_000, 1_000_000)
BATCHES = (128, 512)
RATES = (0.004, 0.008, 0.016, 0.032)
TUNED = (128, 256)
REPLICATES = 3
DRAWS = 200


def main(seeds: int = 5, folder: str = "results/bench_forks") -> None:
    """Print the table."""
    trainer = Trainer(Path(folder), 2 * max(HORIZONS))
    cells = [trainer.cell(width, tokens) for width, tokens in product(WIDTHS, HORIZONS)]
    hyper = _tuned(trainer, cells)
    best = _best(trainer, hyper, cells, seeds)
    spent = float(seeds * sum(cell.tokens for cell in cells))
    ladders = [_ladder(trainer, hyper, cells, seed) for seed in range(seeds)]
    plain, regret = (np.array([ladder[k] for ladder in ladders]) for k in (0, 1))
    saved = 1 - sum(ladder[2] for ladder in ladders) / spent
    print(f"\n{saved:.1%} fewer tokens than tuned runs\nmean fork - tuned, millinats:", end=" ")
    print(*(f"{1e3 * d:+.0f}" for d in (plain - best).mean(axis=0)))
    print("known regret of the forks:", *(f"{1e3 * r:.1f}" for r in regret[0]))
    for name, losses in (("fork ladder", plain), ("corrected", plain - regret)):
        for floors, what in ((False, "common E"), (True, "own E")):
            shift, se = _shift(cells, best, losses, floors)
            print(f"{name:12s} ln N* against tuned runs, {what}: {shift:+.3f} +- {se:.3f}")


def _tuned(trainer: Trainer, cells: list[Cell]) -> HyperFit:
    """Return what the product reads from every cell's grid and the middle one's replicates."""
    grid = [
        trainer.trial(cell, batch, snap_lr(lr))
        for cell in cells
        for batch in BATCHES
        for lr in RATES
    ]
    middle = cells[len(cells) // 2]
    repeated = [trainer.trial(middle, BATCHES[0], RATES[1], seed) for seed in range(1, REPLICATES)]
    return fit_hyper(trainer.runs([*grid, *repeated]))


def _best(trainer: Trainer, hyper: HyperFit, cells: list[Cell], seeds: int) -> Floats:
    """Return losses (seeds, cells) of runs tuned one by one."""

    def run(cell: Cell, batch: int, seed: int) -> Trial:
        lr = hyper.lr(cell.size, cell.tokens, batch).value
        return trainer.trial(cell, batch, snap_lr(lr), seed)

    tried = [
        [trainer.train([run(cell, batch, seed) for cell in cells]) for seed in range(seeds)]
        for batch in TUNED
    ]
    losses = np.array(tried)
    better = losses.mean(axis=1).argmin(axis=0)
    print("batch of the tuned runs:", *(TUNED[i] for i in better))
    return np.asarray(losses[better, :, np.arange(len(cells))].T)


def _ladder(
    trainer: Trainer, hyper: HyperFit, cells: list[Cell], seed: int
) -> tuple[Floats, Floats, float]:
    """Return losses and known regrets (cells,), and the tokens trained."""
    groups = [cells[i : i + len(HORIZONS)] for i in range(0, len(cells), len(HORIZONS))]
    trunks = [_trunk(hyper, group, seed) for group in groups]
    trainer.train(trunks)
    forks = [
        fork_of(trunk, trainer.key(trunk), cell.tokens)
        for group, trunk in zip(groups, trunks, strict=True)
        for cell in group
    ]
    regret = [
        hyper.known_regret(cell.size, cell.tokens, fork.batch_tokens, fork.lr)
        for cell, fork in zip(cells, forks, strict=True)
    ]
    spent = float(sum(trial.new_tokens for trial in [*trunks, *forks]))
    return np.array(trainer.train(forks)), np.array(regret), spent


def _trunk(hyper: HyperFit, group: list[Cell], seed: int) -> Trial:
    """Make a size's trunk as the ladder's stage does."""
    horizons = [cell.tokens for cell in group]
    chosen = trunk_hyper(hyper, group[0].size, horizons, min_batch_tokens=min(BATCHES))
    return trunk_of(trial_of("bench", group[0], chosen, seed=seed), horizons)


def _shift(
    cells: list[Cell], tuned: Floats, ladder: Floats, own_floor: bool
) -> tuple[float, float]:
    """Return the shift of ln N* of losses (seeds, cells) and its standard error over seeds."""
    log_n = np.log([cell.size.params_matmul for cell in cells])
    log_d = np.log([cell.tokens for cell in cells])
    log_n, log_d = log_n - log_n.mean(), log_d - log_d.mean()

    def shift(pick: np.ndarray) -> float:
        observed = np.concatenate([tuned[pick].mean(axis=0), ladder[pick].mean(axis=0)])

        def left(p: Floats) -> Floats:
            both = [
                np.exp(p[0] + moved[0])
                + np.exp(p[1] + moved[1] - np.exp(p[3]) * log_n)
                + np.exp(p[2] + moved[2] - np.exp(p[4]) * log_d)
                for moved in (np.zeros(3), np.array([own_floor * p[7], p[5], p[6]]))
            ]
            return np.concatenate([*both, [0.0 if own_floor else p[7]]]) - np.append(observed, 0.0)

        p = least_squares(left, [0.3, -1.0, -1.0, -0.9, -0.9, 0.0, 0.0, 0.0]).x
        return float((p[5] - p[6]) / (np.exp(p[3]) + np.exp(p[4])))

    rng, seeds = np.random.default_rng(0), len(tuned)
    drawn = [shift(rng.integers(0, seeds, seeds)) for _ in range(DRAWS)]
    se = float(np.std(drawn)) * math.sqrt(seeds / (seeds - 1))
    return shift(np.arange(seeds)), se


if __name__ == "__main__":
    main(*(int(a) if a.isdigit() else a for a in sys.argv[1:]))  # type: ignore[arg-type]
