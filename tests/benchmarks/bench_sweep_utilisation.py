"""How busy 2 and 16 slots are within a round of mixed trial lengths, and over a whole sweep.

    within a round   busy slot-seconds / (slots * time), from its first trial to the start of its
                     last, after which there is nothing left to start
    round ends       slot-seconds idle after that, in all rounds / (slots * time of the sweep)

Beside ours stand the times no scheduler could beat with the same rounds: the work divided by the
slots, the critical path (the longest trial of each round, one after the other), and the best
schedule of every round by itself.

The real loop and policy run on a clock of their own: an executor that takes as long as each trial
took in results/example, or 1 s + FLOPs / 2e10 times a factor that varies by a third in a larger
planted study. ``--real`` runs trials that sleep in two worker processes besides.

    python -m tests.benchmarks.bench_sweep_utilisation [--real]
"""

from __future__ import annotations

import heapq
import math
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from planner.decide.standing import Standing
from planner.ledger import Ledger
from planner.proxy import Outcome
from planner.run import Round, Run, Status
from planner.space import load_space
from planner.study import read_study
from planner.sweep.events import Ended, Event, Job
from planner.sweep.local import LocalExecutor
from planner.sweep.loop import Setup, prepare, run_sweep
from tests.studies import small_space

EXAMPLE = Path("results/example")

LARGE = """
study: large
proxy: {name: synthetic}
sizes: {params: [20k, 30k, 40k, 60k, 80k, 120k, 160k, 240k, 320k, 480k, 640k]}
horizons: {tokens_per_run: [1M, 1.5M, 2M, 3M, 4M, 6M, 8M, 12M], forks: on}
lr: {log: [4.0e-3, 6.4e-2], factor: 2}
batch_tokens: {log: [128, 8192], factor: 2}
stages: {finder: on, seeds: 9, confirm: on, weight_decay: on, held_out: {compute: 2x, sizes: 3}}
budget: {flops: 1e16}
target: {flops: 1e17}
"""

SLEEPER = """
import time
from planner.proxies.synthetic import SyntheticProxy


class Sleeper(SyntheticProxy):
    def train(self, trial, ctx):
        time.sleep(trial.new_tokens / 1e6 * (0.5 + trial.batch_tokens % 7 / 7))
        return super().train(trial, ctx)
"""

Answer = Callable[[Job], tuple[Outcome, float]]


@dataclass
class Clocked:
    """An executor with a clock of its own: a trial takes as long as ``answer`` says."""

    workers: int
    answer: Answer
    now: float = 0.0
    busy: float = 0.0
    started: float = 0.0
    left: float = 0.0
    took: dict[str, float] = field(default_factory=dict)
    _ends: list[tuple[float, int, Ended]] = field(default_factory=list)

    def submit(self, job: Job) -> None:
        """Begin a job now."""
        assert len(self._ends) < self.workers
        outcome, seconds = self.answer(job)
        self.busy += seconds
        self.took[job.key] = seconds
        self.started = self.now
        ended = Ended(job.key, job.attempt, outcome, {}, seconds, "clock")
        heapq.heappush(self._ends, (self.now + seconds, len(self._ends), ended))
        self.left = sum(end - self.now for end, _, _ in self._ends)

    def next_event(self, timeout: float | None = None) -> Event | None:
        """Move the clock to the next end."""
        self.now, _, ended = heapq.heappop(self._ends)
        return ended

    def preempt(self) -> None:
        """Nothing runs."""

    def cancel(self, key: str, note: str) -> None:
        """Do nothing: no clock runs out here."""

    def close(self) -> None:
        """Nothing to stop."""


@dataclass
class Meter:
    """Watches rounds on an executor's clock."""

    executor: Clocked
    rows: list[tuple[Round, float, float, float]] = field(default_factory=list)
    _began: tuple[float, float] = (0.0, 0.0)

    def round_begins(self, step: Round, waiting: int, spent: float) -> None:
        """Note the clock."""
        self._began = self.executor.now, self.executor.busy

    def round_ends(self, step: Round, known: Standing) -> None:
        """Note when the queue ran dry and when the round ended."""
        begin, busy = self._began
        dry, end = self.executor.started - begin, self.executor.now - begin
        used = self.executor.busy - busy
        within = (used - self.executor.left) / (self.executor.workers * dry) if dry else 1.0
        self.rows.append((step, within, end, used))

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        example = prepare(load_space(EXAMPLE / "space.yaml"))
        took = read_study(EXAMPLE).ledger.runs
        _report("results/example", example, Path(folder), lambda job: _recorded(took[job.key]))
        space = Path(folder) / "large.yaml"
        space.write_text(LARGE)
        large = prepare(load_space(space))
        _report("a planted study", large, Path(folder), lambda job: _planted(large, job))
        if "--real" in sys.argv:
            _real(Path(folder))


def _report(name: str, setup: Setup, folder: Path, answer: Answer) -> None:
    for slots in (2, 16):
        executor = Clocked(slots, answer)
        meter = Meter(executor)
        with Ledger.open(folder / f"{setup.space.study}{slots}") as ledger:
            run_sweep(setup, ledger, partial(_same, executor), meter)
        print(f"\n{name}, {slots} slots, {len(ledger.runs)} trials")
        idle = 0.0
        for step, within, end, busy in meter.rows:
            idle += slots * end - busy
            shown = f"{len(step.trials):4d} trials {end:7.1f} s, busy {busy / slots / end:6.1%}"
            print(f"  {step.stage:36s} {shown}, until the queue is dry {within:6.1%}")
        whole = slots * executor.now
        print(f"  sweep {executor.now:.0f} s; lost at round ends {idle / whole:.1%} (<= 15 %)")
        path = sum(max(executor.took[key] for key in _keys(setup, row[0])) for row in meter.rows)
        for kind, seconds in (
            ("every round perfectly divided among the slots", executor.busy / slots),
            ("only the longest trial of each round (the critical path)", path),
            ("the best schedule of these rounds", _least(setup, meter)),
        ):
            lost = max(0.0, 1 - executor.busy / (slots * seconds))
            print(f"  {seconds:6.0f} s, lost {lost:5.1%}: {kind}")


def _keys(setup: Setup, step: Round) -> set[str]:
    return {trial.key(setup.recipe) for trial in step.trials}


def _least(setup: Setup, meter: Meter) -> float:
    """Return a time no order of starting the trials of each round could beat."""
    took, slots = meter.executor.took, meter.executor.workers
    rounds = [
        sorted((took[key] for key in _keys(setup, row[0])), reverse=True) for row in meter.rows
    ]
    return sum(_shortest(seconds, slots) for seconds in rounds)


def _shortest(seconds: list[float], slots: int) -> float:
    """Return the shortest round: exact for two slots (to .1 s), else a bound from below."""
    bound = max(seconds[0], sum(seconds) / slots)
    if slots != 2:  # of slots + 1 trials two share a slot
        return max(bound, sum(seconds[slots - 1 : slots + 1])) if len(seconds) > slots else bound
    tenths, sums = [round(10 * one) for one in seconds], 1
    for one in tenths:
        sums |= sums << one  # bit n: some of the trials take n tenths together
    less = (sums & ((1 << sum(tenths) // 2 + 1) - 1)).bit_length() - 1
    return max(bound, (sum(tenths) - less) / 10)


def _same(executor: Clocked) -> Clocked:
    return executor


def _recorded(run: Run) -> tuple[Outcome, float]:
    outcome = Outcome(run.status, run.loss, run.loss_se, run.tokens, run.note, dict(run.metrics))
    return outcome, run.seconds


def _planted(setup: Setup, job: Job) -> tuple[Outcome, float]:
    size, trial = setup.proxy.size(job.trial.shape), job.trial
    factor = math.exp(0.3 * math.sin(int(job.key, 16) % 1000))
    seconds = (1 + size.flops(trial.new_tokens) / 2e10) * factor
    off = math.log(trial.lr / 0.016)
    loss = 1 + 29 * size.params_matmul**-0.4 + 1.1e4 * trial.tokens**-0.735 + 0.05 * off**2
    metrics = {"lr_low": 0.008, "lr_high": 0.03, "lr_div": 0.5}
    return Outcome(Status.DONE, loss, 0.01, trial.tokens, "", metrics), seconds


def _real(folder: Path) -> None:
    """Run sleeping trials in two processes, and hold their sleep against the clock."""
    module = folder / "sleeper.py"
    module.write_text(SLEEPER)
    setup = prepare(small_space(folder, f"proxy.name={module}:Sleeper"))
    with Ledger.open(folder / "real") as ledger:
        begin = time.perf_counter()
        run_sweep(setup, ledger, lambda: LocalExecutor(2), _Quiet())
        wall = time.perf_counter() - begin
    busy = sum(run.seconds for run in ledger.runs.values())
    print(f"\nreal, 2 workers: {len(ledger.runs)} trials, {wall:.0f} s, busy {busy / 2 / wall:.1%}")


class _Quiet:
    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


if __name__ == "__main__":
    main()
