"""The forms behind a replay, chosen without the target's size: part of the honest figure.

For a target N every run of that size is taken out. Among the sizes left each is left out in turn:
which form of lr*(B) predicts its optima better, and do basins that grow shallower predict the
shape of its losses better than basins that never change? Shape: the loss less the cell's mean, rms
in nats. Run with `python -m tests.benchmarks.replay_forms`.
"""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np

from planner.arrays import Flags, Floats
from planner.fit.priors import Normal, Priors
from planner.fit.surface import Surface
from planner.fit.transfer import fit_hyper
from planner.sweep.replay.joint import cells_of
from planner.sweep.replay.pool import Seen, cell_labels
from tests.benchmarks import steplaw
from tests.benchmarks.bench_transfer import runs_of

TARGETS = (1_073_742_000.0, 536_873_000.0)
"""Sizes of the judged cells."""
ROWS = 500
"""Runs the surface is fitted to, drawn at random."""
NEVER = Normal(0.0, 1e-6)
NEAR = 0.1
"""Runs within this many nats of their cell's lowest loss are compared: no basin is a parabola
further out."""


def of(runs: Seen, rows: Flags | np.ndarray) -> Seen:
    """Return rows of a table."""
    return Seen(*(getattr(runs, f.name)[rows] for f in fields(Seen)))


def shape_error(train: Seen, test: Seen, depth: Normal | None) -> float:
    """Return the rms error (nats) of the losses of a size that was not seen, but for their floors.

    Batch and lr there come from the laws; ``depth`` replaces the belief in how basins change.
    """
    n, d = (float(np.exp(np.log(v).mean())) for v in (train.params, train.tokens))
    prior = Priors.published(n, d, without=("steplaw",))
    prior = replace(prior, depth_slope=depth) if depth else prior
    surface = Surface.believed(prior, cells_of(train, test)).given(train, train.loss)
    excess = surface.excess(test, surface.mean)
    return float(np.sqrt(np.mean((within(test, test.loss) - within(test, excess)) ** 2)))


def within(runs: Seen, values: Floats) -> Floats:
    """Return values less their cell's mean."""
    cell = cell_labels(runs.params, runs.tokens)
    mean = np.bincount(cell, values) / np.bincount(cell)
    return np.asarray(values - mean[cell])


def near(runs: Seen) -> Seen:
    """Return the runs NEAR the lowest loss of their cell."""
    cell = cell_labels(runs.params, runs.tokens)
    lowest = np.full(cell.max() + 1, np.inf)
    np.minimum.at(lowest, cell, np.nan_to_num(runs.loss, nan=np.inf))
    return of(runs, runs.loss <= lowest[cell] + NEAR)


def depth_errors(runs: Seen, target: float) -> tuple[float, float]:
    """Return the error with basins that change and with basins that never do, target left out."""
    rest = of(runs, np.abs(np.log(runs.params / target)) > 0.01)
    errors = []
    for size in np.unique(rest.params):
        train = of(rest, rest.params != size)
        rows = np.sort(np.random.default_rng(0).permutation(len(train))[:ROWS])
        test = near(of(rest, rest.params == size))
        errors.append([shape_error(of(train, rows), test, d) for d in (None, NEVER)])
    changing, never = np.sqrt(np.mean(np.square(errors), axis=0))
    return float(changing), float(never)


def main() -> None:
    """Print the left-out errors of the forms for each target size."""
    if not steplaw.DATA.is_dir():
        print(f"skipped: {steplaw.DATA} is not there")
        return
    table, runs = steplaw.dense(), steplaw.measured(steplaw.load())
    for target in TARGETS:
        rest = table[(table["params"] / target - 1).abs() > 0.01]
        median = rest["params"].median(), rest["tokens"].median()
        prior = Priors.published(*median, without=("steplaw",))
        forms = fit_hyper(runs_of(rest), prior=prior).lr_forms
        errors = ", ".join(f"{name} {error:.3f}" for name, error in forms.errors.items())
        changing, never = depth_errors(runs, target)
        print(
            f"without N = {target:.4g}: left-out error of ln lr*: {errors}, chosen {forms.chosen}; "
            f"shape of the basins: changing {changing:.4f}, never {never:.4f} nats"
        )


if __name__ == "__main__":
    main()
