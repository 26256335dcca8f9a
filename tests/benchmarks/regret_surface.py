"""Freeze the regret surfaces of the Step Law cells, and price the published rules in each.

Run with `python -m tests.benchmarks.regret_surface [--freeze]`. The surface of a cell
(:mod:`planner.fit.regret`) was fitted once; without --freeze the frozen file is read and compared
with a fresh fit. Regrets are nats; "mean" is over the 17 cells of steplaw_dense and cell X apart.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from planner.fit.regret import RegretSurface, fit_regret
from planner.sweep.replay.pool import Seen, same_cell
from tests.benchmarks.steplaw import DATA, cells, load

FROZEN = Path(__file__).parent / "steplaw_surface.json"
DIGITS = 6

Rule = Callable[[float, float], tuple[float, float]]


def step_lr(n: float, d: float) -> float:
    """Step Law (Li 2025), N non-embedding; fitted on these runs."""
    return float(1.79 * n**-0.713 * d**0.307)


def step_batch(d: float) -> float:
    """Step Law's batch in tokens; fitted on these runs."""
    return float(0.58 * d**0.571)


def power_lines(d: float) -> float:
    """Power Lines (Bergsma 2025): 0.0306 D^0.383 sequences of 2,048."""
    return float(2048 * 0.0306 * d**0.383)


def porian_lr(n: float) -> float:
    """Porian 2024, N 5e6 to 9e8, D = 20 N."""
    return float(3.7 * n**-0.36)


def deepseek(n: float, d: float) -> tuple[float, float]:
    """DeepSeek LLM, C 1e17 to 2e19; with C = 6 N D for their non-embedding FLOPs."""
    c = 6 * n * d
    return 0.3118 * c**-0.125, 0.2920 * c**0.3271


RULES: dict[str, tuple[Rule, bool]] = {
    "Step Law": (lambda n, d: (step_lr(n, d), step_batch(d)), True),
    "Power Lines B, Step lr": (lambda n, d: (step_lr(n, d), power_lines(d)), True),
    "constant 2e-3, Step B": (lambda n, d: (2e-3, step_batch(d)), True),
    "constant 2e-3, Power Lines B": (lambda n, d: (2e-3, power_lines(d)), False),
    "DeepSeek": (deepseek, False),
    "Porian": (lambda n, d: (porian_lr(n), 0.7576 * n**0.703), False),
    "Porian lr, Power Lines B": (lambda n, d: (porian_lr(n), power_lines(d)), False),
    "Kaplan lr, Step B": (lambda n, d: (0.003239 - 0.0001395 * np.log(n), step_batch(d)), True),
}
"""Published rules (science A3): (N, D) to (lr, batch in tokens); True where fitted on these runs.

The constant 2e-3 was read off these runs too, as one round number: not quite blind.
"""


def surface_of(runs: Seen, cell: tuple[float, float]) -> RegretSurface:
    """Fit the surface of one cell."""
    rows = same_cell(runs.params, runs.tokens, cell)
    return fit_regret(runs.lr[rows], runs.batch_tokens[rows], runs.loss[rows])


def frozen() -> dict[tuple[float, float], RegretSurface]:
    """Return the frozen surfaces by (N, D)."""
    entries = json.loads(FROZEN.read_text())["cells"]
    return {(e["params"], e["tokens"]): RegretSurface.from_json(e["surface"]) for e in entries}


def freeze(surfaces: dict[tuple[float, float], RegretSurface]) -> None:
    """Write the file, coordinates and losses to 1e-6."""
    entries = []
    for (n, d), surface in surfaces.items():
        data = surface.to_json()
        for name in ("hull", "runs"):
            data[name] = [[y if y is None else round(y, DIGITS) for y in x] for x in data[name]]
        entries.append({"params": n, "tokens": d, "surface": data})
    lines = ",\n".join(json.dumps(entry) for entry in entries)
    FROZEN.write_text(f'{{"unit": "nats", "cells": [\n{lines}\n]}}\n')


def describe(cell: tuple[float, float], surface: RegretSurface) -> str:
    """Say where a cell's minimum lies and how far its surface reaches."""
    (lr, batch), low, high = (
        np.exp(v) for v in (surface.best, surface.hull.min(0), surface.hull.max(0))
    )
    return (
        f"{cell[0]:.4g} {cell[1]:.4g}  runs {len(surface.runs):3d}  min {surface.least:.4f} (run "
        f"{surface.runs[:, 2].min():.4f}) at lr {lr:.2e} B {batch:.3g}; rms {surface.rms:.4f}; "
        f"hull lr {low[0]:.1e}-{high[0]:.1e} B {low[1]:.2g}-{high[1]:.2g}"
    )


def main() -> None:
    """Print the surfaces and the rules' regrets; write the file when asked to."""
    if not DATA.is_dir():
        print(f"skipped: {DATA} is not there")
        return
    runs = load()
    fresh = {cell: surface_of(runs, cell) for cell in cells()}
    if "--freeze" in sys.argv:
        freeze(fresh)
    kept = frozen()
    for cell, surface in kept.items():
        print(describe(cell, surface))
    shift = max(abs(fresh[cell].least - kept[cell].least) for cell in kept)
    print(f"fresh fits differ from the frozen ones by {shift:.1e} nats in the minimum at most\n")
    for name, (rule, own) in RULES.items():
        costs = np.array([float(s.regret(*rule(*cell))) for cell, s in kept.items()])
        print(
            f"{name:30s} mean {costs[:-1].mean():.4f}  worst {costs[:-1].max():.4f}  cell X "
            f"{costs[-1]:.4f}  {'fitted on these runs' if own else ''}\n   "
            + " ".join(f"{c:.4f}" for c in costs)
        )


if __name__ == "__main__":
    main()
