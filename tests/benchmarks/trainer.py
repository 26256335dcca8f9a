"""Trains trials of the gpt proxy on both cores, each once: what has ended is kept in a file."""

from __future__ import annotations

import json
import math
import multiprocessing
from collections.abc import Sequence
from pathlib import Path

from planner.decide.hyper import rules_at
from planner.proxy import ProxySpec, load_proxy
from planner.run import Trial
from planner.sweep.events import Job
from planner.sweep.layout import Cell, common_horizon
from planner.sweep.trials import trial_of
from planner.sweep.worker import run_job

CORES = 2


class Trainer:
    """The proxy ``gpt`` on the embedded text; ``folder`` keeps losses and checkpoints."""

    def __init__(self, folder: Path, tokens_needed: int, **options: object) -> None:
        data = {"source": "python-source", "tokens_needed": tokens_needed}
        self.spec = ProxySpec("gpt", data, {"context": 128} | options)
        self.proxy = load_proxy(self.spec)
        self.recipe = {"proxy": "gpt", **self.proxy.recipe()}
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._kept = folder / "losses.jsonl"

    def cell(self, width: int, tokens: int, depth: int = 2) -> Cell:
        """Return a size and a horizon."""
        shape = {"width": width, "depth": depth}
        return Cell(shape, self.proxy.size(shape), common_horizon(tokens))

    def trial(self, cell: Cell, batch: int, lr: float, seed: int = 0) -> Trial:
        """Return a decayed run of a cell; what is not named follows the rules."""
        hyper = rules_at(cell.size, cell.tokens, batch_tokens=batch, lr=lr)
        return trial_of("bench", cell, hyper, seed=seed)

    def key(self, trial: Trial) -> str:
        """Return the trial's key."""
        return trial.key(self.recipe)

    def train(self, trials: Sequence[Trial]) -> list[float]:
        """Return the final losses, nan where a run diverged; dearest first, both cores."""
        known = self._losses()
        jobs = {self.key(t): self._job(t) for t in trials if self.key(t) not in known}
        dear = sorted(jobs.values(), key=lambda job: -self._cost(job.trial))
        if dear:
            with multiprocessing.get_context("spawn").Pool(CORES, _one_thread) as pool:
                for key, loss in pool.imap_unordered(_run, dear):
                    with self._kept.open("a") as file:
                        file.write(json.dumps([key, loss]) + "\n")
            known = self._losses()
        return [known[self.key(trial)] for trial in trials]

    def _cost(self, trial: Trial) -> float:
        return self.proxy.size(trial.shape).flops(trial.new_tokens)

    def _losses(self) -> dict[str, float]:
        if not self._kept.is_file():
            return {}
        return dict(json.loads(line) for line in self._kept.read_text().splitlines())

    def _job(self, trial: Trial) -> Job:
        parent = None if trial.parent is None else str(self._folder / trial.parent)
        key = self.key(trial)
        return Job(key, trial, 1, self.spec, str(self._folder / key), parent)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _run(job: Job) -> tuple[str, float]:
    outcome = run_job(job, lambda _: None).outcome
    if outcome.status.value == "failed":
        raise RuntimeError(outcome.note)
    return job.key, outcome.loss if outcome.status.value == "done" else math.nan
