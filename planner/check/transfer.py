"""Whether the learning rate found on one size holds on the next: the two largest sizes tell.

    delta = ln lr*(largest) - ln lr*(second),      |delta| < .35

at the same tokens and batch: over those a learning rate moves under every parametrisation. lr* of a
size comes with the interval of its basin (planner/fit/optimum.py), so delta has one too, and where
that straddles the bound nothing is decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from planner.estimate import LEVEL, Estimate
from planner.finding import Finding, Severity
from planner.fit.cells import Cell, find_cells, noise_of_one_run, seed_noise, usable
from planner.fit.priors import Priors
from planner.run import Run
from planner.shape import Size

BOUND = 0.35
"""Largest |ln| of the ratio of two best learning rates that counts as transfer."""

RATES = 3
"""Learning rates, x2 apart, that locate a size's best one."""

CODE = "lr-transfer"


def lr_shift(
    runs: Sequence[Run], *, parametrization: str = "sp"
) -> tuple[Estimate, Cell, Cell] | None:
    """Return delta between the two largest sizes with a basin at equal tokens and batch, and both.

    Under mup they must be of one depth as well: it claims nothing of others. None when no two sizes
    can be compared; of several pairs the one of most compute counts.
    """
    ended = usable(runs)
    if not ended:
        return None
    smallest = min(run.size.params_non_embedding for run in ended)
    prior = Priors.published(smallest, float(min(run.trial.tokens for run in ended)))
    cells = find_cells(ended, prior, noise_of_one_run(seed_noise(ended), prior))
    depth = {run.key: run.trial.shape.get("depth") for run in ended}

    def place(cell: Cell) -> tuple[object, ...]:
        fixed = depth[cell.keys[0]] if parametrization == "mup" else None
        return cell.tokens, cell.batch_tokens, fixed

    pairs = [
        (small, large)
        for small, large in product(cells, cells)
        if small.params < large.params and place(small) == place(large)
    ]
    if not pairs:
        return None
    small, large = max(pairs, key=lambda pair: (pair[1].params, pair[0].params, pair[1].flops))
    return _difference(small, large), small, large


def transfer_finding(
    runs: Sequence[Run], sizes: Sequence[Size], tokens: float, parametrization: str
) -> Finding:
    """Judge what a study's runs say; without a pair of sizes, say what to run and its price.

    ``sizes`` are those of the search space, ``tokens`` the horizon to run them at.
    """
    found = lr_shift(runs, parametrization=parametrization)
    if found is None:
        return _missing(sizes, tokens)
    delta, small, large = found
    what = (
        f"From {small.params:.3g} to {large.params:.3g} parameters at {large.tokens:.3g} tokens "
        f"and a batch of {large.batch_tokens:.0f} the best learning rate changes by a factor "
        f"{np.exp(delta.value):.2f} [{np.exp(delta.low):.2f}, {np.exp(delta.high):.2f}] under "
        f"{parametrization}"
    )
    price = RATES * (small.flops + large.flops)
    edge = not (small.basin.interior and large.basin.interior)
    inner, outer = max(delta.low, -delta.high, 0.0), max(-delta.low, delta.high)
    if edge or inner <= BOUND < outer:
        bound = f"the interval straddles the bound of {np.exp(BOUND):.2f}"
        why = "a minimum lies at the edge of its grid" if edge else bound
        remedy = "run further learning rates and seeds at both sizes"
        return Finding(CODE, Severity.WARNING, f"{what}: not decided, {why}.", remedy, price)
    if outer <= BOUND:
        return Finding(CODE, Severity.INFO, f"{what}: it transfers.")
    what += ": it does not transfer."
    if parametrization == "sp":
        remedy = "let the fit carry the change to the target, or use `parametrization: mup`"
        return Finding(CODE, Severity.WARNING, what, remedy)
    remedy = "run the coordinate check (`planner check --coordinate`)"
    return Finding(CODE, Severity.BLOCKING, what, remedy)


def _difference(small: Cell, large: Cell) -> Estimate:
    """Return ln lr* of the large size less that of the small; independent errors on both sides."""
    a, b = small.basin, large.basin
    value = b.x - a.x
    low = value - np.hypot(b.x - b.low, a.high - a.x)
    high = value + np.hypot(b.high - b.x, a.x - a.low)
    return Estimate(value, float(low), float(high), LEVEL, "two basins, independent errors")


def _missing(sizes: Sequence[Size], tokens: float) -> Finding:
    largest = sorted(sizes, key=lambda size: size.params_matmul)[-2:]
    price = RATES * sum(size.flops(tokens) for size in largest)
    named = " and ".join(f"{size.params_matmul:.3g}" for size in largest)
    what = "No two sizes were swept over the learning rate at the same tokens and batch."
    remedy = (
        f"run {RATES} learning rates x2 apart at {named} parameters, {tokens:.3g} tokens and one "
        f"batch: {price:.2g} FLOPs"
    )
    return Finding(CODE, Severity.WARNING, what, remedy, price)
