"""Error of N* at 1000 times the largest compute in noise-free IsoFLOP designs, and with noise.

Run with `python -m tests.benchmarks.bench_isoflop`. Designs: 5 levels of compute over two decades,
7 sizes a level from N* / width to N* x width, centred on N*, off by 3x either way, or drifting half
a decade from the lowest level to the highest, either way. No data are needed.

The cubic's window was chosen on other worlds and designs (`... bench_isoflop window`): random
exponents and amplitudes, widths of 4 to 32, 5 to 9 sizes at 4 to 7 levels over 1.5 to 3 decades,
off or drifting by up to 3.5x, without noise and with .02 to .6 %.
"""

from __future__ import annotations

import sys
import time
from unittest.mock import patch

import numpy as np

from planner.fit import window
from planner.fit.cross_check import cross_check
from planner.fit.isoflop import METHODS, isoflop
from planner.fit.laws import CHINCHILLA, optimal_params
from planner.fit.points import Points
from planner.fit.solve import solve
from tests.fit.isoflop_world import (
    ASYMMETRIC,
    BESIROGLU,
    HOFFMANN,
    isoflop_runs,
    random_design,
    random_law,
)

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
RANDOM_SETS = 120
NOISES = {"none": None, ".02-.1 %": (2e-4, 1e-3), ".1-.3 %": (1e-3, 3e-3), ".3-.6 %": (3e-3, 6e-3)}
RULES = {
    "whole level": {"STEPS": (np.inf,)},
    **{f"{step} gaps": {"STEPS": (step,)} for step in (0.5, 0.7, 1.0)},
    **{f"bias x {bias:.0f}": {"BIAS": bias} for bias in (1.0, 2.0, 4.0, 9.0)},
}
"""What the window could be: the same for all, or chosen with a bias that counts so many times."""


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


def windows() -> None:
    """Print the cubic's error of ln N* at 1000x in random worlds by the window's rule."""
    for seed, (name, noise) in enumerate(NOISES.items()):
        print(f"noise {name}, {RANDOM_SETS} random sets: error of ln N* at 1000x in %, coverage")
        for rule, constants in RULES.items():
            with patch.multiple(window, **constants):
                errors, inside, half = _random(seed, noise)
            rms = np.sqrt(np.mean(np.minimum(errors, 1.0) ** 2))
            middle, high = np.quantile(errors, (0.5, 0.95))
            told = (f"{100 * e:7.2f}" for e in (rms, middle, high, errors.max()))
            print(f"  {rule:12s} rms, median, 95 %, worst", *told, end="")
            print(f"; {inside.mean():4.0%} +-{np.median(half):.3f}" if noise else "", flush=True)


def _random(seed: int, noise: tuple[float, float] | None) -> tuple[np.ndarray, ...]:
    rng, told = np.random.default_rng([31, seed]), []
    for i in range(RANDOM_SETS):
        truth, design = random_law(rng), random_design(rng)
        sd = float(np.exp(rng.uniform(*np.log(noise)))) if noise else 0.0
        runs = isoflop_runs(truth, **design, noise=sd, seed=i)
        target = 1000 * runs.flops.max()
        e, best = isoflop(runs).optimal_params(target), float(optimal_params(truth, target))
        told.append((abs(np.log(e.value / best)), e.contains(best), np.log(e.high / e.low) / 2))
    return tuple(np.array(told).T)


if __name__ == "__main__":
    windows() if sys.argv[1:] == ["window"] else main()
