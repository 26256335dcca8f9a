"""Runs of a Weights & Biases project, each written when its trial has ended.

The library keeps one run at a time well, a sweep has many: points are kept until the end.
"""

from __future__ import annotations

from pathlib import Path

import wandb

from planner.run import Run, Trial
from planner.sweep.events import Progress
from planner.sweep.mirrors import facts_of


class WandbMirror:
    """One project per study, one run per trial, grouped by stage."""

    def __init__(self, project: str, mode: str | None, folder: Path) -> None:
        self._project, self._mode, self._folder = project, mode, folder
        folder.mkdir(parents=True, exist_ok=True)
        self._points: dict[str, list[Progress]] = {}

    def progress(self, event: Progress, trial: Trial) -> None:
        """Keep a point for the trial's end."""
        self._points.setdefault(event.key, []).append(event)

    def ended(self, run: Run) -> None:
        """Write the run."""
        settings = wandb.Settings(console="off", silent=True, disable_git=True, save_code=False)
        with wandb.init(
            project=self._project,
            id=run.key,
            name=run.key,
            group=run.trial.stage,
            config=facts_of(run.trial),
            dir=str(self._folder),
            mode="offline" if self._mode == "offline" else None,
            settings=settings,
        ) as here:
            for point in self._points.pop(run.key, []):
                here.log({"tokens": point.tokens, "train_loss": point.loss})
            found = {name: getattr(run, name) for name in ("loss", "flops", "seconds", "tokens")}
            here.summary.update(found | {"status": run.status.value})

    def close(self) -> None:
        """Do nothing: every run is closed when it is written."""


def open_mirror(study: str, place: str | None, folder: Path) -> WandbMirror:
    """Open the mirror: ``offline`` writes below wandb/ in the study; else as the library is set."""
    return WandbMirror(study, place, folder)
