"""The solver of power sums against its targets: time, objective, convergence, growth, peers.

Run with `python -m tests.benchmarks.bench_solve [sets]` (1,000 synthetic sets; fewer to look). CPU
seconds of one thread. Peers run in the same call on the same points where PEERS_PYTHON names an
interpreter that has `simple-scaling-laws` and `chinchilla` installed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from planner.arrays import Floats
from planner.fit.laws import CHINCHILLA, PowerSum
from planner.fit.points import Points, huber
from planner.fit.solve import polish, refit, residuals, solve
from planner.table import read_runs
from tests.benchmarks.synthetic_sets import case
from tests.fit.planted import many_runs

SHARED = Path("../shared/data")
TABLES = {
    "Chinchilla-240": ("epoch_chinchilla/svg_extracted_data.csv", "Model Size", "", "loss"),
    "marin_dclm": (
        "marin_dclm/isoflop-dclm.csv",
        "parameter_count",
        "throughput/total_tokens",
        "eval/paloma/macro_loss",
    ),
    "gadre_rpj": ("gadre_rpj", "params", "tokens", "loss::c4_val/shard-{0000000..0000010}.tar"),
}
REFERENCE = 1.0182740178006e-3
DELTA = 1e-3


def table(name: str) -> Points | None:
    """Return the points of a public table, or None where it is not there."""
    file, params, tokens, loss = TABLES[name]
    path = SHARED / file
    path = next(iter(sorted(path.glob("*.csv"))), path) if path.is_dir() else path
    if not path.is_file():
        return None
    third = f"{tokens}=tokens" if tokens else "Training FLOP=flops"
    runs = read_runs(path, [f"{params}=params", third, f"{loss}=loss"]).observations
    if not tokens:
        runs = runs.take(np.sort(np.argsort(runs.loss, kind="stable")[:-5]))
    return Points.of(runs.params, runs.tokens, runs.loss)


def spent(work: Callable[[], object], times: int) -> float:
    """Return the median CPU seconds of a call."""
    took = []
    for _ in range(times):
        start = time.process_time()
        work()
        took.append(time.process_time() - start)
    return float(np.median(took))


def best_known(points: Points, law: PowerSum, delta: float, seed: int) -> float:
    """Return the lowest of 60 starts anywhere in the box and of scipy's L-BFGS-B from four."""
    rng, (low, high) = np.random.default_rng(seed), law.box(points)
    starts = rng.uniform(low, high, size=(60, law.n_free))
    starts[:, 3:] = np.exp(rng.uniform(np.log(low[3:]), np.log(high[3:]), starts[:, 3:].shape))
    found = polish(points, law, delta, starts)
    width = min(delta, 1e100)

    def objective(phi: Floats) -> tuple[float, Floats]:
        log_loss, jac = law.evaluate(points, phi[None])
        r = log_loss[0] - points.y
        psi = points.one_sided(r) * np.clip(r, -width, width)
        return 1e6 * float(points.cost(r, delta)), 1e6 * (psi @ jac[0])

    others = [found.free, *rng.choice(law.starts(points), 3, replace=False)]
    tight = {"maxiter": 2000, "maxfun": 4000, "ftol": 1e-15, "gtol": 1e-12}
    bounds = list(zip(low, high, strict=True))
    ends = [
        minimize(objective, np.clip(s, low, high), jac=True, bounds=bounds, options=tight).fun
        for s in others
    ]
    return min(found.objective, min(ends) / 1e6)


def exactness(sets: int) -> None:
    """Print how often an objective is above the best known, and how solves end."""
    for name in TABLES:
        points = table(name)
        if points is None:
            print(f"{name}: skipped, {SHARED / TABLES[name][0]} is not there")
            continue
        solution = solve(points, CHINCHILLA, DELTA)
        known = min(best_known(points, CHINCHILLA, DELTA, seed) for seed in range(5))
        print(
            f"{name}: n {len(points)}, objective {solution.objective:.13e}, over the best of 320 "
            f"other solves {solution.objective / known - 1:+.1e}, converged {solution.converged}"
        )
    over, ended, bound, took = [], [], [], []
    for seed in range(sets):
        points, law, delta = case(seed)
        start = time.process_time()
        solution = solve(points, law, delta)
        took.append(time.process_time() - start)
        over.append(solution.objective / best_known(points, law, delta, seed) - 1)
        ended.append(solution.converged)
        bound.append(bool(solution.at_bound))
    worse = np.array(over) > 1e-9
    print(
        f"{sets} synthetic sets: above the best known x (1 + 1e-9) {worse.sum()} "
        f"(largest excess {max(over):.1e}), below it {np.sum(np.array(over) < -1e-9)}; converged "
        f"{np.sum(ended)}, of those at a bound {np.sum(np.array(ended) & np.array(bound))}; median "
        f"{1e3 * np.median(took):.2f} ms, longest {1e3 * max(took):.1f} ms"
    )


def speed(points: Points) -> None:
    """Print the cold fit and the bootstrap on Chinchilla-240, with what the refits reach."""
    n = len(points)
    cold = spent(lambda: solve(points, CHINCHILLA, DELTA), 51)
    solution = solve(points, CHINCHILLA, DELTA)
    weights = np.random.default_rng(0).multinomial(n, np.ones(n) / n, size=4000).astype(float)
    took = spent(lambda: refit(points, CHINCHILLA, DELTA, weights, solution.free), 3)
    free, converged = refit(points, CHINCHILLA, DELTA, weights, solution.free)
    excess = []
    for b in range(200, 4000, 19):
        own = replace(points, weights=weights[b])
        reached = own.cost(residuals(own, CHINCHILLA, free[b : b + 1])[0], DELTA)
        excess.append(reached / solve(own, CHINCHILLA, DELTA).objective - 1)
    print(
        f"cold fit {1e3 * cold:.2f} ms, objective over the reference "
        f"{solution.objective / REFERENCE - 1:+.1e}\n"
        f"4,000 refits {took:.3f} s, converged {converged.sum()}; 200 of them against 16 starts "
        f"of their own: largest excess {max(excess):.1e}"
    )


def growth() -> None:
    """Print CPU seconds of a fit for 100 to 10,000 rows."""
    for n in (100, 1000, 3000, 10_000):
        runs = many_runs(0.01, n=n)
        points = Points.of(runs.params, runs.tokens, runs.loss)
        took = spent(lambda points=points: solve(points, CHINCHILLA, DELTA), 3)
        print(f"{n:6d} rows: {1e3 * took:7.1f} ms, {1e6 * took / n:.2f} us a row")


def peers(points: Points) -> None:
    """Print what the packages from PyPI take and reach on the same points."""
    python = os.environ.get("PEERS_PYTHON")
    if python is None:
        print("peers: skipped, PEERS_PYTHON names no interpreter that has them")
        return
    rows = {"params": points.params, "tokens": points.tokens, "loss": np.exp(points.y)}
    asked = json.dumps({name: column.tolist() for name, column in rows.items()})
    script = Path(__file__).with_name("peers.py")
    done = subprocess.run([python, script], input=asked, capture_output=True, text=True, check=True)
    least = solve(points, CHINCHILLA, np.inf).objective
    for name, found in json.loads(done.stdout).items():
        if "missing" in found:
            print(f"{name}: skipped, {found['missing']}")
            continue
        r = np.log(found["loss"]) - points.y
        drawn = f", {found['draws']} draws {found['draws_s']:.2f} s" if "draws" in found else ""
        print(
            f"{name}: cold fit {1e3 * found['cold_s']:.1f} ms{drawn}; of its law, over the "
            f"optimum: Huber {huber(r, DELTA).sum() / REFERENCE - 1:+.1e}, squares of log "
            f"{(r**2).sum() / 2 / least - 1:+.1e}"
        )


def main() -> None:
    """Print the figures, or why there are none."""
    start = time.process_time()
    runs = many_runs(0.01, n=30)
    solve(Points.of(runs.params, runs.tokens, runs.loss), CHINCHILLA, DELTA)
    print(f"first solve of the process, loading or compiling {time.process_time() - start:.2f} s")
    points = table("Chinchilla-240")
    if points is None:
        print(f"speed and peers skipped: {SHARED} is not there")
    else:
        speed(points)
        peers(points)
    growth()
    exactness(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)


if __name__ == "__main__":
    main()
