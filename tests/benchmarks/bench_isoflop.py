"""Error of N* at 1000 times the largest compute in noise-free IsoFLOP designs, and with noise.

Run with `python -m tests.benchmarks.bench_isoflop`. Designs: 5 levels of compute over two decades,
7 sizes a level from N* / width to N* x width, centred on N*, off by 3x either way, or drifting half
a decade from the lowest level to the highest, either way. No data are needed.
"""

from __future__ import annotations

import time

import numpy as np

from planner.fit.cross_check import cross_check
from planner.fit.isoflop import METHODS, isoflop
from planner.fit.laws import CHINCHILLA, optimal_params
from planner.fit.points import Points
from planner.fit.solve import solve
from tests.fit.isoflop_world import ASYMMETRIC, BESIROGLU, HOFFMANN, isoflop_runs

WORLDS = {"Besiroglu": BESIROGLU, "Hoffmann": HOFFMANN, "ratio 3": ASYMMETRIC}
HALF = 10**0.5
DESIGNS = {
    "centred": (1.0, 1.0),
    "3x above": (3.0, 3.0),
    "3x below": (1 / 3, 1 / 3),
    "drift up": (1.0, HALF),
    "drift down": (1.0, 1 / HALF),
    "drift across": (HALF**-0.5, HALF**0.5),
}
COLUMNS = ("law", *METHODS, "parabola less bias", "cubic less bias")
SETS = 100


def main() -> None:
    """Print the tables."""
    print("N* error in % at 1000x, no noise")
    print(f"{'world':10s} {'width':>5s} {'design':13s}", *(f"{c:>18s}" for c in COLUMNS))
    worst = np.zeros(len(COLUMNS))
    for world, truth in WORLDS.items():
        for width in (8.0, 16.0):
            for design, off in DESIGNS.items():
                errors = _errors(truth, width, off)
                worst = np.maximum(worst, np.abs(errors))
                told = (f"{100 * e:18.3f}" for e in errors)
                print(f"{world:10s} {width:5.0f} {design:13s}", *told)
    print(f"{'worst':30s}", *(f"{100 * w:18.3f}" for w in worst))
    _with_noise()


def _errors(truth: np.ndarray, width: float, off: tuple[float, float]) -> np.ndarray:
    runs = isoflop_runs(truth, width=width, off=off)
    target = 1000 * runs.flops.max()
    best = float(optimal_params(truth, target))
    points = Points.of(runs.params, runs.tokens, runs.loss)
    theta = solve(points, CHINCHILLA, np.inf).theta
    found = cross_check(runs, CHINCHILLA, theta, theta[None], flops=target)
    assert found is not None
    by = {c.profile.method: c for c in found.compared}
    values = [
        found.law.value,
        *(by[m].found.value if m in by else np.nan for m in METHODS),
        *(by[m].corrected.value for m in ("parabola", "cubic")),
    ]
    return np.array(values) / best - 1.0


def _with_noise() -> None:
    print(f"\nwith .3 % noise, width 8, {SETS} sets: coverage of nominal 90 %, median half width")
    for world, truth in WORLDS.items():
        for design in ("centred", "drift up"):
            start = time.process_time()
            told = (f"{m} {_covered(truth, DESIGNS[design], m)}" for m in METHODS)
            print(f"{world:10s} {design:13s}", "; ".join(told), end="")
            print(f"; CPU {(time.process_time() - start) / SETS * 1e3:.0f} ms a set of three")


def _covered(truth: np.ndarray, off: tuple[float, float], method: str) -> str:
    inside, half, at_levels = [], [], []
    for seed in range(SETS):
        runs = isoflop_runs(truth, off=off, noise=0.003, seed=seed)
        fit = isoflop(runs, method, seed=seed)
        target = 1000 * runs.flops.max()
        e = fit.optimal_params(target)
        inside.append(e.contains(float(optimal_params(truth, target))))
        half.append(np.log(e.high / e.low) / 2)
        at_levels += [
            level.best.contains(float(optimal_params(truth, level.flops)))
            for level in fit.levels
            if level.best is not None
        ]
    return f"{np.mean(inside):.0%} (levels {np.mean(at_levels):.0%}) +-{np.median(half):.3f}"


if __name__ == "__main__":
    main()
