"""Event files for TensorBoard, one folder per trial: loss over tokens, then what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from planner.run import Run, Trial
from planner.sweep.events import Progress


class TensorBoardMirror:
    """Writes below ``folder``; look with ``tensorboard --logdir FOLDER``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, Any] = {}

    def progress(self, event: Progress, trial: Trial) -> None:
        """Add a point of the loss."""
        self._writer(event.key, trial).add_scalar("train/loss", event.loss, event.tokens)

    def ended(self, run: Run) -> None:
        """Add the final loss and the trial's own figures, and close its file."""
        writer = self._writer(run.key, run.trial)
        for name in ("loss", "flops", "seconds"):
            writer.add_scalar(f"trial/{name}", getattr(run, name), run.tokens)
        for name in ("lr", "batch_tokens"):
            writer.add_scalar(f"trial/{name}", getattr(run.trial, name), run.tokens)
        writer.close()
        del self._writers[run.key]

    def close(self) -> None:
        """Close what is still open."""
        for writer in self._writers.values():
            writer.close()

    def _writer(self, key: str, trial: Trial) -> Any:  # noqa: ANN401 (the library has no types)
        if key not in self._writers:
            place = self._folder / f"{trial.stage}-{key}"
            self._writers[key] = SummaryWriter(str(place), write_to_disk=True)
        return self._writers[key]


def open_mirror(study: str, place: str | None, folder: Path) -> TensorBoardMirror:
    """Open the mirror at the folder ``place``, by default tensorboard/ in the study."""
    return TensorBoardMirror(Path(place) if place else folder / "tensorboard")
