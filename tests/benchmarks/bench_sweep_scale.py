"""Driver memory, `planner status` and next_round on studies of 10,000 and 100,000 recorded runs.

A study is decided by the real policy and answered by a formula, so its log is what a sweep of that
size would have written (eleven lines a trial): a ladder of 100 horizons on as many sizes as it
takes. Memory is the peak of a fresh process that resumes the study: it opens it for writing,
decides, records one more end and hashes all that was found, as before a prediction. It is read as
VmHWM, because ``ru_maxrss`` begins at what the process that started this one held. Status is the
wall time of the command; a decision is state_of + next_round with the keys of a running driver, and
without them (a resume's first decision).

    python -m tests.benchmarks.bench_sweep_scale [10000 100000]
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from planner._log import encode_line
from planner.campaign import _write_setup
from planner.ledger import Ledger
from planner.run import Round, Run, Status, Trial
from planner.space import SearchSpace, load_space
from planner.sweep.loop import Setup, prepare, state_of
from planner.sweep.policy import POLICY_VERSION, next_round
from planner.sweep.state import Memory, StudyState

HORIZONS, RUNS = 100, (10_000, 100_000)
SPACE = """
study: scale
proxy: {{name: synthetic}}
sizes: {{params: [{params}]}}
horizons: {{tokens_per_run: [{tokens}], forks: off}}
stages: {{seeds: 3, confirm: on, held_out: on}}
budget: {{flops: 1e19}}
target: {{flops: 1e19}}
"""

RESUMED = """
import sys, time
from dataclasses import replace
from pathlib import Path
import planner.campaign
from planner.ledger import Ledger
from planner.space import load_space
from planner.sweep.loop import prepare, state_of
from planner.sweep.policy import next_round
folder = Path(sys.argv[1])
setup = prepare(load_space(folder / "space.yaml"))
begin = time.process_time()
with Ledger.open(folder) as ledger:
    seconds = time.process_time() - begin
    assert next_round(state_of(setup, ledger)) is None
    run = next(iter(ledger.runs.values()))
    again = time.process_time()
    ledger.started("one more", 1, "bench", run.trial, run.size)
    ledger.ended(replace(run, key="one more", attempt=1))
    again = time.process_time() - again
    ledger.hash()
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) / 1024, seconds, again)
"""


def main() -> None:
    """Print the figures for each number of runs named on the command line."""
    for runs in [int(word) for word in sys.argv[1:]] or RUNS:
        with tempfile.TemporaryDirectory() as folder:
            _measure(runs, Path(folder))


def _measure(runs: int, folder: Path) -> None:
    setup = prepare(_space(runs, folder))
    study = folder / "study"
    decisions = _write(setup, study)
    size = (study / "events.jsonl").stat().st_size / 1e6
    print(f"\n{runs} runs, log of {size:.0f} MB")
    print(
        "  decisions while it was written, CPU s: " + ", ".join(f"{one:.2f}" for one in decisions)
    )
    asked = subprocess.run(
        [sys.executable, "-c", RESUMED, str(study)], capture_output=True, text=True, check=True
    )
    peak, opened, one_more = map(float, asked.stdout.split())
    print(f"  driver: peak {peak:.0f} MB (<= 250)")
    print(f"  opened in {opened:.1f} s of CPU, one more end in {one_more:.3f} s")
    walls, cpus = zip(*(_status_seconds(study) for _ in range(3)), strict=True)
    told = f"{min(walls):.2f} s best of 3, {min(cpus):.2f} s of CPU"
    print(f"  status: {told} (<= 1 s at 10,000); all {walls}")
    for name, seconds in _decisions(setup, study).items():
        print(f"  next_round, {name}: {seconds:.3f} s of CPU (<= 0.2)")


def _space(runs: int, folder: Path) -> SearchSpace:
    sizes = runs // HORIZONS
    params = [round(1e5 * 20 ** (i / sizes)) for i in range(sizes)]
    tokens = [round(1e6 * 1.02**i) for i in range(HORIZONS)]
    path = folder / "scale.yaml"
    shown = {"params": params, "tokens": tokens}
    words = {name: ", ".join(map(str, values)) for name, values in shown.items()}
    path.write_text(SPACE.format(**words))
    return load_space(path)


def _write(setup: Setup, study: Path) -> list[float]:
    """Write the study's log round by round, and return what its decisions took, in seconds."""
    runs: dict[str, Run] = {}
    rounds: tuple[Round, ...] = ()
    memory, seconds, lines = Memory(), [], 0
    study.mkdir()
    with (study / "events.jsonl").open("w") as log:

        def write(kind: str, **content: object) -> None:
            nonlocal lines
            lines += 1
            log.write(encode_line({"n": lines, "event": kind, "time": 1.8e9 + lines} | content))

        write("study", schema_version=1)
        while True:
            begin = time.process_time()
            state = StudyState(
                setup.space, setup.proxy, setup.recipe, setup.layout, rounds, runs, memory=memory
            )
            step = next_round(state)
            seconds.append(time.process_time() - begin)
            if step is None:
                break
            rounds += (step,)
            write("decided", policy=POLICY_VERSION, round=step.to_json())
            for key, trial in zip(state.keys_of(step), step.trials, strict=True):
                runs[key] = _answer(setup, key, trial)
                for kind, content in _life(runs[key]):
                    write(kind, **content)
    _write_setup(study, setup)
    return seconds


def _answer(setup: Setup, key: str, trial: Trial) -> Run:
    size = setup.proxy.size(trial.shape)
    off = math.log(trial.lr / 0.01)
    noise = 0.004 * math.sin(1e4 * trial.seed + trial.tokens)
    loss = 1 + 29 * size.params_matmul**-0.4 + 1.1e4 * trial.tokens**-0.735 + 0.05 * off**2 + noise
    metrics = {"bits_per_byte": loss / math.log(2), "lr_low": 0.004, "lr_high": 0.04, "lr_div": 0.5}
    cost = size.flops(trial.new_tokens)
    return Run(
        trial, key, Status.DONE, loss, 0.01, size, trial.tokens, cost, cost / 2e10, "cpu",
        metrics=metrics,
    )  # fmt: skip


def _life(run: Run) -> Iterator[tuple[str, dict[str, object]]]:
    trial, name = run.trial, {"key": run.key, "attempt": 1}
    cost = {"fork_at": 0, "tokens": trial.tokens, "flops_per_token": run.size.flops_per_token}
    yield "started", name | {"host": "local", "devices": 1.0} | cost
    for mark in range(1, 10):
        yield "progress", name | {"tokens": mark * trial.tokens // 10, "seconds": mark / 10}
    yield "ended", {"run": run.to_json()}


def _status_seconds(study: Path) -> tuple[float, float]:
    """Return wall and CPU seconds of the command; on a busy machine they differ."""
    begin, before = time.perf_counter(), os.times()
    subprocess.run(
        [sys.executable, "-m", "planner", "status", str(study), "--json"],
        check=True,
        capture_output=True,
    )
    wall, after = time.perf_counter() - begin, os.times()
    cpu = after.children_user + after.children_system
    return round(wall, 2), round(cpu - before.children_user - before.children_system, 2)


def _decisions(setup: Setup, study: Path) -> dict[str, float]:
    """Time the last decision of the finished study, resumed and in a running driver."""
    ledger, memory, found = Ledger.read(study), Memory(), {}
    for name in ("first of a resume", "in a running driver"):
        begin = time.process_time()
        step = next_round(state_of(setup, ledger, memory))
        found[name] = time.process_time() - begin
        assert step is None, json.dumps(step.to_json())[:200]
    return found


if __name__ == "__main__":
    main()
