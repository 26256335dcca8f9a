"""The image proxy on digits: a complete sweep to its plan, once per seed, every seed printed.

Each study is the shipped search space under another seed, run by the command line. Printed are wall
and CPU minutes of the command and all its workers, the held-out losses that were predicted before
they were trained, and the held-out accuracies against a map from cross-entropy fitted to the ladder
alone. Target: at most 4 minutes on two free cores, held-out losses inside their 90 % intervals.

    python -m tests.benchmarks.bench_proxy_image [SEEDS | FIRST-LAST] [DOTTED.PATH=VALUE ...]
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from planner.fit.error_map import fit_error_map

SPACE = Path(__file__).parents[2] / "search_spaces" / "image.yaml"
MINUTES = 4.0


def main() -> None:
    if find_spec("sklearn") is None:
        print("skipped: scikit-learn, which holds the digits, is not installed")
        return
    first, _, last = (sys.argv[1] if len(sys.argv) > 1 else "0-2").rpartition("-")
    seeds = range(int(first), int(last) + 1) if first else range(int(last))
    print(f"{len(os.sched_getaffinity(0))} cores, load average {os.getloadavg()[0]:.1f}")
    inside = total = 0
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            wall, cpu = sweep(Path(folder), seed, sys.argv[2:])
            hits, rungs = told(Path(folder), seed, wall, cpu)
            inside, total = inside + hits, total + rungs
    print(f"held-out losses inside their 90 % intervals: {inside} of {total}")


def sweep(folder: Path, seed: int, changes: list[str]) -> tuple[float, float]:
    """Run the study; return wall and CPU minutes, the workers' included."""
    known = {point.name for point in entry_points(group="planner.proxies")}
    if "image" not in known:
        changes = ["proxy.name=planner.proxies.image:ImageProxy", *changes]
    command = [sys.executable, "-m", "planner", "sweep", str(SPACE), "--out", str(folder)]
    command += ["--seed", str(seed), *(word for change in changes for word in ("--set", change))]
    before, begin = _cpu(), time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr[-2000:])
        raise SystemExit(f"seed {seed}: the sweep ended with exit code {done.returncode}")
    print(done.stdout.split("\n")[0])
    return (time.monotonic() - begin) / 60, (_cpu() - before) / 60


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def told(folder: Path, seed: int, wall: float, cpu: float) -> tuple[int, int]:
    """Print a study's line and its rungs; return how many lay inside, of how many."""
    runs = [json.loads(line) for line in (folder / "runs.jsonl").read_text().splitlines()]
    prediction = json.loads((folder / "prediction.json").read_text())
    plan = json.loads((folder / "plan.json").read_text())
    print(
        f"seed {seed}: {len(runs)} runs, {wall:.1f} min wall, {cpu:.1f} CPU min "
        f"({cpu / 2:.1f} on two cores, target {MINUTES:g}); verdict {plan['verdict']}; law "
        f"{json.loads((folder / 'fit.json').read_text())['law']}"
    )
    held = {run["params_matmul"]: run for run in runs if run["stage"] == "held_out"}
    before = [run for run in runs if "accuracy" in run["metrics"] and run["stage"] == "ladder"]
    before = [run for run in before if run["schedule"] == "wsd"]
    losses, accuracies = (
        np.array(column)
        for column in zip(*((r["loss"], r["metrics"]["accuracy"]) for r in before), strict=True)
    )
    mapped = fit_error_map(losses, 1 - accuracies)
    hits = 0
    for rung in prediction["rungs"]:
        run, loss = held[rung["params"]], rung["loss"]
        hit = loss["low"] <= run["loss"] <= loss["high"]
        hits += hit
        spread = np.exp(np.linspace(np.log(loss["low"]), np.log(loss["high"]), 1000))[:, None]
        accuracy = 1 - mapped.predict(spread)[0].value
        print(
            f"  {rung['params']:.0f} parameters, {rung['tokens']:.0f} images: loss predicted "
            f"{loss['value']:.3f} [{loss['low']:.3f}, {loss['high']:.3f}], measured "
            f"{run['loss']:.3f} ({100 * (loss['value'] / run['loss'] - 1):+.0f} %, "
            f"{'inside' if hit else 'OUTSIDE'}); accuracy {accuracy:.3f} predicted, "
            f"{run['metrics']['accuracy']:.3f} measured"
        )
    return hits, len(prediction["rungs"])


if __name__ == "__main__":
    main()
