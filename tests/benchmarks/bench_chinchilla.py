"""Chinchilla-240 against the reference of fitting.md section 1: parameters, objective, time.

Run with `python -m tests.benchmarks.bench_chinchilla`; the data are 245 points digitised from the
Chinchilla paper by Epoch (the 5 highest losses are dropped by their convention).
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from planner.fit.engine import fit_loss
from planner.fit.laws import CHINCHILLA
from planner.fit.points import Points
from planner.fit.solve import solve
from planner.table import read_runs

DATA = Path("../shared/data/epoch_chinchilla/svg_extracted_data.csv")
REFERENCE = {"E": 1.81722, "A": 477.83, "B": 2143.4, "alpha": 0.347311, "beta": 0.367172}
OBJECTIVE = 1.0182740178006e-3


def main() -> None:
    """Print the figures, or why there are none."""
    if not DATA.is_file():
        print(f"skipped: {DATA} is not there")
        return
    runs = read_runs(DATA, ["Model Size=params", "Training FLOP=flops"]).observations
    runs = runs.take(np.sort(np.argsort(runs.loss, kind="stable")[:-5]))
    points = Points.of(runs.params, runs.tokens, runs.loss)
    start = time.process_time()
    solution = solve(points, CHINCHILLA, 1e-3)
    solved = time.process_time() - start
    start = time.process_time()
    fit = fit_loss(runs, delta=1e-3)
    fitted = time.process_time() - start
    best = fit.optimal_params_draws(5.76e23, kind="statistical")
    low, high = np.quantile(best, [0.05, 0.95]) / 1e9
    lines = [
        f"rows {len(runs)}, law {fit.law}, {fit.status}, {fit.method}",
        f"objective {solution.objective:.13e}, reference {OBJECTIVE:.13e}, "
        f"ratio - 1 = {solution.objective / OBJECTIVE - 1:.1e}",
        *(
            f"{name:6s} {fit.params[name]:.8g}, reference {value:.8g}, "
            f"relative {fit.params[name] / value - 1:+.1e}"
            for name, value in REFERENCE.items()
        ),
        f"N_opt(5.76e23) 90 % statistical {low:.1f}-{high:.1f} B (reference 55-105 B)",
        f"CPU: one solve {1e3 * solved:.0f} ms, both laws with draws {1e3 * fitted:.0f} ms",
    ]
    print("\n".join(lines))


if __name__ == "__main__":
    main()
