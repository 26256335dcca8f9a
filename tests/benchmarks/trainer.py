"""Trains trials of the gpt proxy, each once: what has ended is kept in a file.

A line of ``losses.jsonl`` is a trial with its loss, so an analysis over the same trials costs
nothing. The text is kept beside it: the embedded corpus changes with every installed dependency,
and losses on two corpora must not mix. PLANNER_BENCH_CORES (2) trials run at a time.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from planner.decide.hyper import rules_at
from planner.proxies._data import prepare
from planner.proxy import ProxySpec, load_proxy
from planner.run import Run, Status, Trial
from planner.sweep.cells import Cell, common_horizon
from planner.sweep.events import Job
from planner.sweep.trials import trial_of
from planner.sweep.worker import run_job

BYTES = 256
CORES = int(os.environ.get("PLANNER_BENCH_CORES", "2"))


class Trainer:
    """The proxy ``gpt`` on the embedded text; ``folder`` keeps text, losses and checkpoints."""

    def __init__(self, folder: Path, tokens_needed: int, **options: object) -> None:
        options = {"context": 128} | options
        self.spec = ProxySpec("gpt", _kept_text(folder, tokens_needed, options["context"]), options)
        self.proxy = load_proxy(self.spec)
        self.recipe = {"proxy": "gpt", **self.proxy.recipe()}
        self._folder = folder
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
                for line in pool.imap_unordered(_run, dear):
                    with self._kept.open("a") as file:
                        file.write(json.dumps(line) + "\n")
            known = self._losses()
        return [known[self.key(trial)] for trial in trials]

    def runs(self, trials: Sequence[Trial]) -> list[Run]:
        """Return the trials as the runs a fit reads."""
        return [
            self._ended(trial, loss) for trial, loss in zip(trials, self.train(trials), strict=True)
        ]

    def _ended(self, trial: Trial, loss: float) -> Run:
        status = Status.DONE if math.isfinite(loss) else Status.DIVERGED
        size = self.proxy.size(trial.shape)
        spent = size.flops(trial.new_tokens)
        return Run(trial, self.key(trial), status, loss, 0.0, size, trial.tokens, spent)

    def _cost(self, trial: Trial) -> float:
        return self.proxy.size(trial.shape).flops(trial.new_tokens)

    def _losses(self) -> dict[str, float]:
        if not self._kept.is_file():
            return {}
        lines = map(json.loads, self._kept.read_text().splitlines())
        return {line["key"]: line["loss"] for line in lines}

    def _job(self, trial: Trial) -> Job:
        parent = None if trial.parent is None else str(self._folder / trial.parent)
        key = self.key(trial)
        return Job(key, trial, 1, self.spec, str(self._folder / key), parent)


def _kept_text(folder: Path, tokens_needed: int, context: int) -> dict[str, object]:
    """Return the data of a proxy: the embedded text as it was when the folder was new."""
    train, validation = folder / "train.npy", folder / "validation.npy"
    if not train.is_file():
        data = {"source": "python-source", "tokens_needed": tokens_needed}
        corpus = prepare(data, context=context)
        folder.mkdir(parents=True, exist_ok=True)
        np.save(validation, corpus.validation)
        np.save(train, corpus.train)
    held_out = {"validation": str(validation), "vocab": BYTES}
    return {"tokens": str(train), "tokens_needed": tokens_needed} | held_out


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _run(job: Job) -> dict[str, object]:
    ended = run_job(job, lambda _: None)
    outcome = ended.outcome
    if outcome.status is Status.FAILED:
        raise RuntimeError(outcome.note)
    loss = outcome.loss if outcome.status is Status.DONE else math.nan
    line = {"key": job.key, "loss": loss, "loss_se": outcome.loss_se, "seconds": ended.seconds}
    return line | {"trial": job.trial.to_json()}
