"""A learning rate picked on small proxies, used at 16 times their compute, against a sweep there.

Ten studies of the gpt proxy on the embedded text (CPU), unlike in seed, context, depth and head.
Each: 3 learning rates x 2 batches at five small cells, the joint surface, and its learning
rate for a run of 16 times the compute of the dearest proxy. There, x2 steps in lr round the pick
until the minimum is inside, and a parabola through the three lowest. Regret: loss at the pick less
the parabola's minimum, against the sd between seeds (two more seeds at every pick, pooled).

    python -m tests.benchmarks.bench_lr_transfer [STUDIES] [FOLDER]
"""

from __future__ import annotations

import math
import sys
import tempfile
from pathlib import Path

import numpy as np

from planner.decide.hyper import snap_lr
from planner.decide.recommend import recommend
from planner.fit.joint import Columns
from planner.fit.priors import Priors
from planner.fit.surface import Surface
from tests.benchmarks.trainer import Trainer

STUDIES = (
    {},
    {"context": 64},
    {"head": "tied"},
    {"depth": 3},
    {"seed": 1},
    {"context": 64, "head": "tied"},
    {"context": 256},
    {"depth": 3, "seed": 2},
    {"depth": 1},
    {"seed": 3, "head": "tied"},
)
PROXIES = ((16, 128_000), (16, 256_000), (16, 512_000), (32, 128_000), (32, 256_000))
TARGET = (64, 1_200_000)
RATES, BATCHES, TARGET_BATCH = (0.004, 0.016, 0.064), (256, 1024), 256
NOISE = 0.006
SEEDS = 2


def main(studies: int = len(STUDIES), folder: str | None = None) -> None:
    """Print a row per study and the summary."""
    root = Path(folder or tempfile.mkdtemp())
    found = [_study(root / str(i), dict(STUDIES[i])) for i in range(studies)]
    sd = math.sqrt(np.mean([variance for _, variance in found]))
    within = sum(regret <= 2 * sd for regret, _ in found)
    print(f"seed sd {sd:.4f} nats; regret <= 2 sd in {within} of {studies}")


def _study(folder: Path, options: dict[str, object]) -> tuple[float, float]:
    """Return the regret and the variance between seeds."""
    seed, depth = int(options.pop("seed", 0)), int(options.pop("depth", 2))
    trainer = Trainer(folder, 2 * TARGET[1], **options)
    surface = _surface(trainer, depth, seed)
    cell = trainer.cell(*TARGET, depth)
    found = recommend(surface, cell.size.params_matmul, cell.tokens, batch_tokens=TARGET_BATCH)
    pick = snap_lr(found.lr)
    more = [trainer.trial(cell, TARGET_BATCH, pick, seed + 100 + i) for i in range(SEEDS)]
    losses = {pick: trainer.train([trainer.trial(cell, TARGET_BATCH, pick, seed), *more])}
    own = {pick: losses[pick][0]}
    while (missing := _beside(own)) and len(own) < 7:
        trials = [trainer.trial(cell, TARGET_BATCH, lr, seed) for lr in missing]
        own |= dict(zip(missing, trainer.train(trials), strict=True))
    regret = own[pick] - _lowest(own)
    print(
        f"{folder.name}: {options or 'plain'} depth {depth} seed {seed}: pick {pick:.4g}, "
        f"best of the sweep {min(own, key=lambda lr: _finite(own[lr])):.4g}, regret {regret:.4f}; "
        + ", ".join(f"{lr:.3g}: {own[lr]:.4f}" for lr in sorted(own)),
        flush=True,
    )
    return regret, float(np.var(losses[pick], ddof=1))


def _surface(trainer: Trainer, depth: int, seed: int) -> Surface:
    cells = [trainer.cell(*place, depth) for place in PROXIES]
    trials, params = [], []
    for cell in cells:
        for batch in BATCHES:
            for lr in RATES:
                trials.append(trainer.trial(cell, batch, snap_lr(lr), seed))
                params.append(cell.size.params_matmul)
    rows = Columns.of(trials, params)
    places = np.unique(np.stack([rows.params, rows.tokens], axis=1), axis=0)
    prior = Priors.published(cells[2].size.params_matmul, cells[2].tokens)
    return Surface.believed(prior, places, NOISE).given(rows, np.array(trainer.train(trials)))


def _beside(losses: dict[float, float]) -> list[float]:
    """Return the x2 neighbours of the lowest loss that were not trained."""
    best = min(losses, key=lambda lr: _finite(losses[lr]))
    wanted = (snap_lr(best / 2), snap_lr(best * 2))
    return [lr for lr in wanted if not any(math.isclose(lr, known) for known in losses)]


def _lowest(losses: dict[float, float]) -> float:
    """Return the minimum of the parabola in ln lr through the lowest loss and its neighbours."""
    rates = sorted(losses)
    best = min(range(len(rates)), key=lambda i: _finite(losses[rates[i]]))
    near = rates[max(best - 1, 0) : best + 2]
    y = np.array([losses[lr] for lr in near])
    if len(near) < 3 or not np.isfinite(y).all():
        return losses[rates[best]]
    a, b, c = np.polyfit(np.log(near) - math.log(rates[best]), y, 2)
    return float(min(c - b * b / (4 * a), y.min())) if a > 0 else float(y.min())


def _finite(loss: float) -> float:
    return loss if math.isfinite(loss) else math.inf


if __name__ == "__main__":
    main(*(int(a) if a.isdigit() else a for a in sys.argv[1:]))  # type: ignore[arg-type]
