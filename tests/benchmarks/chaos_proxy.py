"""The synthetic proxy with a training that takes time, saves its state and counts its work.

A trial computes POINTS points, each CHAOS_SECONDS long; every point computed is a line in the file
CHAOS_WORK, whoever computed it and whatever became of it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from planner.proxies.synthetic import SyntheticProxy, _undecayed

POINTS, INTERVAL = 20, 4
"""Points of a trial, and how many lie between two saved states."""


class ChaosProxy(SyntheticProxy):
    def _report_curve(self, trial, ctx, end):
        state = ctx.checkpoint_dir / "state"
        ctx.checkpoint_dir.mkdir(parents=True, exist_ok=True)
        saved = int(state.read_text()) if state.exists() else 0
        params = self.size(trial.shape).params_matmul
        for point in range(1, POINTS + 1):
            tokens = trial.fork_at + (end - trial.fork_at) * point // POINTS
            loss = float(self.truth.best_loss(params, float(tokens)))
            if point > saved:
                self._compute(trial, point)
            ctx.report(tokens=tokens, loss=loss + _undecayed(trial, tokens), lr=trial.lr)
            if point == saved:
                ctx.resumed(tokens)
            if point > saved and point % INTERVAL == 0:
                half = state.with_suffix(f".{os.getpid()}")
                half.write_text(str(point))
                half.rename(state)

    def _compute(self, trial, point):
        time.sleep(float(os.environ.get("CHAOS_SECONDS", 0)))
        if work := os.environ.get("CHAOS_WORK"):
            with Path(work).open("a") as file:
                file.write(f"{trial.key({})} {point}\n")
