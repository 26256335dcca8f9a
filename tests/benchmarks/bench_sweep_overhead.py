"""What the sweep adds to a trial: 1,000 trivial trials, log included, against a bare Ray task.

    ms per trial = wall time of a round of 1,000 / 1,000, on two workers

The trials take no time of their own (a synthetic loss and its curve of 20 points). The log is the
study's own, every start and end of a trial forced to the disk. Beside it: what that forcing alone
takes, what 1,000 bare Ray tasks take, and what a live report adds to a trial.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from planner._log import append_line
from planner.ledger import Ledger
from planner.means import ExecutorChoice
from planner.proxy import Outcome, ProxySpec, load_proxy
from planner.run import Round, Status, Trial
from planner.space import load_space
from planner.sweep.cluster import RayExecutor
from planner.sweep.events import Executor
from planner.sweep.limits import Limits
from planner.sweep.local import LocalExecutor
from planner.sweep.loop import Bench, RoundRunner
from tests.studies import TEXT, Silence

TRIALS, WORKERS, TARGET_MS = 1000, 2, 15.0


def trials(count: int, shape: dict) -> tuple[Trial, ...]:
    return tuple(Trial("seeds", shape, 512_000, 512, 0.01, 5120, seed=k) for k in range(count))


def round_ms(executor: Executor, spec: ProxySpec, shape: dict, count: int, first: int) -> float:
    """Run a round of so many trials, after a short one that starts the workers."""
    with tempfile.TemporaryDirectory() as folder, Ledger.open(Path(folder) / "study") as ledger:
        proxy = load_proxy(spec)
        bench = Bench(spec, proxy, proxy.recipe(), "bench")
        space = Path(folder) / "space.yaml"
        space.write_text(TEXT)
        limits = Limits(load_space(space, ["budget.flops=1e30"]).budget)
        todo = trials(first + count, shape)
        for number, some in enumerate((todo[:first], todo[first:]), start=1):
            step = Round(number, "seeds", some, "a benchmark")
            ledger.decided(step, "bench")
            began = time.perf_counter()
            RoundRunner(bench, ledger, executor, Silence(), limits).run(step)
        return 1e3 * (time.perf_counter() - began) / count


class Talker:
    """A proxy that reports as often as its shape says and computes nothing."""

    capabilities = frozenset()

    def __init__(self, data):
        del data

    def size(self, shape):
        from planner.shape import size_from_mapping

        return size_from_mapping(shape)

    def recipe(self):
        return {}

    def train(self, trial, ctx):
        for k in range(trial.shape["reports"]):
            ctx.report(tokens=trial.tokens * (k + 1) // trial.shape["reports"], loss=2.0)
        return Outcome(Status.DONE, 2.0, 0.01, trial.tokens)


def bare_ms(count: int) -> float:
    """A window of plain Ray tasks as wide as the workers, each waited for by itself."""
    import ray

    task = ray.remote(num_cpus=1, max_retries=0)(lambda number: number)
    ray.get([task.remote(k) for k in range(WORKERS)])
    began, running = time.perf_counter(), []
    for k in range(count):
        running.append(task.remote(k))
        if len(running) == WORKERS:
            ready, running = ray.wait(running)
            ray.get(ready)
    ray.get(running)
    return 1e3 * (time.perf_counter() - began) / count


def forced_ms(folder: Path) -> float:
    """Force one line to the disk, as every start and end of a trial is."""
    began = time.perf_counter()
    for _ in range(200):
        append_line(folder / "line", "x" * 400 + "\n", durable=True)
    return 1e3 * (time.perf_counter() - began) / 200


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else TRIALS
    synthetic = ProxySpec("synthetic", {}, {"noise": 0.004})
    talker = ProxySpec(f"{Path(__file__)}:Talker")
    with tempfile.TemporaryDirectory() as folder:
        print(f"one line forced to the disk: {forced_ms(Path(folder)):.2f} ms")
    makers: dict[str, Callable[[], Executor]] = {
        "local": lambda: LocalExecutor(WORKERS),
        "ray": lambda: RayExecutor(ExecutorChoice(name="ray", workers=WORKERS)),
    }
    for name, make in makers.items():
        executor = make()
        ms = round_ms(executor, synthetic, {"width": 32, "depth": 2}, count, 20)
        judged = "met" if ms <= TARGET_MS else "MISSED"
        print(f"{name}: {ms:.1f} ms per trial over {count} (target {TARGET_MS:g}: {judged})")
        shape = {"params": 1000}
        silent, told = (
            round_ms(executor, talker, shape | {"reports": reports}, count // 4, 20)
            for reports in (1, 10)
        )
        print(f"{name}: each live report adds {(told - silent) / 9:.2f} ms to a trial")
        if name == "ray":
            print(f"ray: a bare task takes {bare_ms(count):.1f} ms")
        executor.close()
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
