"""A learning rate picked on small proxies, used at 16 times their compute, against a sweep there.

Three targets of the gpt proxy under muP (embedded text, CPU), unlike in width, depth, batch and
steps; five layouts of proxies for each, every layout with seeds of its own. No proxy costs more
than a sixteenth of a target run. A cell of a layout: a x2 grid in lr, extended until its lowest
loss is inside, then more seeds round it. The pick is the product's, ``fit_hyper`` at the target's
batch as ``rung_hyper`` uses it. The sweep at the target is shared by its studies: a x2 grid on two
seeds, more seeds round the minimum, one smooth curve (a cubic in ln lr).

Regret: that curve at the pick less its minimum, against the sd between seeds at one learning rate.
For comparison the regret of carrying over the best learning rate of the dearest proxies unchanged.

    python -m tests.benchmarks.bench_lr_transfer [FOLDER] [sp]     (about 45 minutes of one core)
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from planner.decide.rules import cautious_lr, snap_lr
from planner.fit.transfer import fit_hyper
from planner.run import Run
from planner.sweep.cells import Cell
from tests.benchmarks.trainer import Trainer

SHARE = 1 / 16
GRID = tuple(2.0**k for k in (-8, -7, -6, -5))
"""Learning rates every cell starts with, .004 to .031."""

LONGEST = 9
"""Learning rates of one cell at most."""

CONTEXT, BASE_WIDTH = 64, 32


@dataclass(frozen=True)
class Target:
    """A run to be planned, and the widths, horizons and seeds of each layout of proxies."""

    width: int
    depth: int
    tokens: int
    batch: int
    layouts: tuple[tuple[tuple[int, int, int], ...], ...] = field(repr=False)


TARGETS = (
    Target(
        *(64, 2, 800_000, 512),
        layouts=(
            ((16, 460_000, 3), (16, 230_000, 3)),
            ((16, 460_000, 2), (32, 155_000, 2)),
            ((16, 460_000, 2), (16, 155_000, 2), (32, 155_000, 2)),
            ((32, 155_000, 3), (32, 78_000, 3)),
            ((16, 230_000, 2), (32, 155_000, 2), (48, 80_000, 2)),
        ),
    ),
    Target(
        *(48, 3, 800_000, 256),
        layouts=(
            ((16, 295_000, 3), (16, 148_000, 3)),
            ((16, 295_000, 2), (32, 97_000, 2)),
            ((16, 295_000, 2), (16, 98_000, 2), (32, 97_000, 2)),
            ((32, 97_000, 3), (32, 49_000, 3)),
            ((16, 148_000, 2), (32, 97_000, 2), (32, 49_000, 2)),
        ),
    ),
    Target(
        *(64, 1, 800_000, 256),
        layouts=(
            ((16, 400_000, 3), (16, 200_000, 3)),
            ((16, 400_000, 2), (32, 145_000, 2)),
            ((16, 400_000, 2), (16, 133_000, 2), (32, 145_000, 2)),
            ((32, 145_000, 3), (32, 73_000, 3)),
            ((16, 200_000, 2), (32, 145_000, 2), (48, 79_000, 2)),
        ),
    ),
)


def main(folder: str = "results/bench_lr_transfer", parametrization: str = "mup") -> None:
    """Print a row per study and the summary."""
    base = {} if parametrization == "sp" else {"base_width": BASE_WIDTH}
    options = {"context": CONTEXT, "parametrization": parametrization} | base
    trainer = Trainer(Path(folder), 2_000_000, **options)
    within = studies = 0
    for number, target in enumerate(TARGETS):
        cell = trainer.cell(target.width, target.tokens, target.depth)
        truth = Truth.of(_swept(trainer, cell, target.batch, range(1000, 1004)))
        print(f"{target}: lr* {truth.best:.4f}, 2 seed-sd {2 * truth.sd:.4f} nats", flush=True)
        for index in range(len(target.layouts)):
            within += _study(trainer, target, truth, index, 100 * number + 10 * index)
            studies += 1
    print(f"regret <= 2 sd in {within} of {studies}")


def _study(trainer: Trainer, target: Target, truth: Truth, index: int, seed: int) -> bool:
    """Print a study and say whether its regret is within two sd."""
    cell = trainer.cell(target.width, target.tokens, target.depth)
    runs: list[Run] = []
    for width, tokens, seeds in target.layouts[index]:
        place = trainer.cell(width, tokens, target.depth)
        assert place.flops <= SHARE * cell.flops
        runs += _swept(trainer, place, target.batch, range(seed, seed + seeds))
    hyper = fit_hyper(runs, recipe=trainer.recipe)
    best = hyper.lr(cell.size, cell.tokens, target.batch)
    pick = snap_lr(cautious_lr(best))
    carried = float(np.exp(max(hyper.cells, key=lambda c: c.flops).basin.x))
    regret = truth.regret(pick)
    print(
        f"  layout {index}: pick {pick:.4f} [{best.low:.4f}, {best.high:.4f}] "
        f"regret {regret:.4f}; unchanged {carried:.4f} regret {truth.regret(carried):.4f}; "
        + ", ".join(
            f"({c.params:.0f}, {c.tokens:.0f}) {math.exp(c.basin.x):.4f}" for c in hyper.cells
        ),
        flush=True,
    )
    return regret <= 2 * truth.sd


@dataclass(frozen=True)
class Truth:
    """The smooth loss of a target over ln lr, the ends of its sweep, and the sd between seeds."""

    curve: np.poly1d
    low: float
    high: float
    sd: float

    @classmethod
    def of(cls, runs: Sequence[Run]) -> Truth:
        """Fit a sweep within a factor 4 of its lowest mean; the sd is of its two best rates."""
        found: dict[float, list[float]] = {}
        for run in runs:
            found.setdefault(run.trial.lr, []).append(run.loss)
        order = sorted(found, key=lambda lr: float(np.mean(found[lr])))
        near = [lr for lr in sorted(found) if abs(math.log2(lr / order[0])) < 2.5]
        x, mean = np.log(near), [float(np.mean(found[lr])) for lr in near]
        sd = math.sqrt(np.mean([np.var(found[lr], ddof=1) for lr in order[:2]]))
        curve = np.poly1d(np.polyfit(x, mean, 3, w=[len(found[lr]) ** 0.5 for lr in near]))
        return cls(curve, x[0], x[-1], sd)

    @property
    def best(self) -> float:
        """Where the curve is lowest."""
        x = np.linspace(self.low, self.high, 2001)
        return float(np.exp(x[np.argmin(self.curve(x))]))

    def regret(self, lr: float) -> float:
        """Return the loss at a learning rate above the lowest, nats; infinite outside the sweep."""
        inside = self.low <= math.log(lr) <= self.high
        return (
            float(self.curve(math.log(lr)) - self.curve(math.log(self.best)))
            if inside
            else math.inf
        )


def _swept(trainer: Trainer, cell: Cell, batch: int, seeds: Sequence[int]) -> list[Run]:
    """Return a cell's runs: two seeds on a grid whose ends are not best, all round the best."""
    rates = list(GRID)
    while True:
        runs = trainer.runs([trainer.trial(cell, batch, lr, s) for lr in rates for s in seeds[:2]])
        loss = np.array([r.loss for r in runs]).reshape(len(rates), -1).mean(axis=1)
        best = int(np.nanargmin(loss))
        missing = [lr for lr in (rates[best] / 2, rates[best] * 2) if lr not in rates]
        if not missing or len(rates) >= LONGEST:
            break
        rates = sorted(rates + missing)
    more = [
        trainer.trial(cell, batch, lr, s) for lr in rates[best - 1 : best + 2] for s in seeds[2:]
    ]
    return runs + trainer.runs(more)


if __name__ == "__main__":
    main(*sys.argv[1:])
