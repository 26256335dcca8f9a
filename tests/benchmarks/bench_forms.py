"""Every form behind the general solver: how often it finds the best basin, and at what cost.

Run with `python -m tests.benchmarks.bench_forms [sets]`. Each form is fitted to runs of its own and
of Chinchilla's law in turn (35, 60 or 240 runs, noise .002 to .01, normal or t3 tails; least
squares, Huber at the noise, Huber 1e-3). The best known objective is the lowest of 78 further
starts, followed in six lots: the form's own moved by 15 % of the box, any in the box, and some
round the answer.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from planner.arrays import Floats
from planner.fit.forms import FORMS
from planner.fit.general import refit_general, solve_general
from planner.fit.laws import CHINCHILLA, Law
from planner.fit.points import Points
from tests.fit.planted_forms import TRUTHS, columns, sample

BESIROGLU = np.array([1.8172, 482.01, 2085.43, 0.3478, 0.3658])


def runs(law: Law, seed: int) -> tuple[Points, float]:
    """Return one data set and a delta to fit it with."""
    rng = np.random.default_rng(seed)
    n, noise = int(rng.choice([35, 60, 240])), float(rng.choice([0.002, 0.005, 0.01]))
    delta = float(rng.choice([np.inf, 1.345 * noise, 1e-3]))
    params, tokens, extra = columns(law, n, seed)
    truth = TRUTHS[law.name]
    if seed % 2 == 0:
        loss = law.predict(truth, params, tokens, extra)
    else:
        loss = CHINCHILLA.predict(BESIROGLU, params, tokens)
    error = rng.standard_t(3, n) if seed % 3 == 0 else rng.standard_normal(n)
    return Points.of(params, tokens, loss * np.exp(noise * error), extra=extra), delta


def many_starts(law: Law, points: Points, free: Floats, seed: int) -> Floats:
    """Return 78 starts besides the law's own."""
    rng = np.random.default_rng(seed)
    low, high = law.box(points)
    own = law.starts(points)
    width, p = high - low, law.n_free
    moved = own[rng.integers(len(own), size=48)] + 0.15 * width * rng.standard_normal((48, p))
    anywhere = low + width * rng.random((22, p))
    return np.concatenate([moved, anywhere, free + 0.02 * width * rng.standard_normal((8, p))])


def reach(law: Law, sets: int) -> tuple[int, int]:
    """Return how many sets end within 1e-9 of the best known objective, and how many converge."""
    hits = converged = 0
    for seed in range(sets):
        points, delta = runs(law, seed)
        solution = solve_general(points, law, delta)
        starts = many_starts(law, points, solution.free, seed)
        lowest = min(
            solve_general(points, law, delta, part).objective for part in np.array_split(starts, 6)
        )
        hits += solution.objective <= lowest * (1 + 1e-9)
        converged += solution.converged
    return hits, converged


def cost(law: Law) -> tuple[float, float, float]:
    """Return CPU ms of a cold fit, of 1,000 refits (n = 240) and of 1,000 optima."""
    points = sample(law.name, 240, 0.005, 1)
    fits = []
    for _ in range(5):
        start = time.process_time()
        solution = solve_general(points, law, 0.007)
        fits.append(time.process_time() - start)
    weights = np.random.default_rng(0).multinomial(240, np.full(240, 1 / 240), size=1000)
    start = time.process_time()
    free, ended = refit_general(points, law, 0.007, weights.astype(float), solution.free)
    refits = time.process_time() - start
    assert ended.mean() > 0.99
    theta = law.theta_of(points, free)
    start = time.process_time()
    law.optimal_params(theta, 1e22)
    return min(fits) * 1e3, refits * 1e3, (time.process_time() - start) * 1e3


def main() -> None:
    """Print a line a form."""
    sets = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    print(f"{'form':18s} best basin  converged  cold fit ms  1000 refits ms  1000 optima ms")
    for law in FORMS.values():
        hits, converged = reach(law, sets)
        fit, refits, optima = cost(law)
        print(
            f"{law.name:18s} {hits:4d}/{sets:<5d} {converged:5d}/{sets:<5d}"
            f"{fit:11.1f} {refits:15.0f} {optima:15.1f}"
        )


if __name__ == "__main__":
    main()
