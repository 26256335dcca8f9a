"""A path to parts: a file is read, a folder is walked for what trackers and people left in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from planner.errors import TableError
from planner.importers.file import load_file
from planner.importers.mlflow import is_mlflow_run, mlflow_rows
from planner.importers.part import BROKEN, Part, frame_of
from planner.importers.ray_tune import is_ray_trial, ray_rows
from planner.importers.tensorboard import is_event_file, tensorboard_rows
from planner.importers.trainer_state import trainer_folder
from planner.importers.wandb import is_wandb_folder, wandb_row

TABLES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".csv.gz", ".jsonl.gz")
SKIPPED = {"artifacts", ".trash", "latest-run", "__pycache__", ".git"}
"""Folders that hold copies, deleted runs or no runs."""
SILENT = (
    "{} does not say whether a run ended; those whose plan does not say otherwise count as ended."
)
NOTES = {name: (SILENT.format(f"A {name} folder"),) for name in ("W&B", "TensorBoard")}
Rows = Callable[[], list[dict[str, Any]]]


@dataclass
class _Found:
    """What a walk has gathered: rows by the tracker they are from, parts of plain files."""

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    dropped: list[tuple[str, str]] = field(default_factory=list)

    def read(self, tracker: str, folder: Path, rows: Rows) -> None:
        """Read one run; one that cannot be read is dropped and named."""
        try:
            self.rows.setdefault(tracker, []).extend(rows())
        except (*BROKEN, TableError) as error:
            self.dropped.append((str(folder), f"{tracker} run cannot be read: {error}"))


def load(path: Path) -> list[Part]:
    """Return what a path holds, a part per plain file and one per tracker.

    Raises TableError for a path that is not there or holds no runs.
    """
    if path.is_file():
        return [load_file(path)]
    if not path.is_dir():
        raise TableError(f"the table {path} does not exist")
    found = _Found()
    for folder, folders, files in _walk(path):
        _look(found, path, folder, folders, files)
    parts = [
        Part(f"{path} ({name})", frame_of(rows), notes=NOTES.get(name, ()))
        for name, rows in found.rows.items()
        if rows
    ]
    if not parts and not found.parts:
        why = "".join(f"; {name}: {reason}" for name, reason in found.dropped[:3])
        raise TableError(
            f"the folder {path} holds no runs: no table ({', '.join(TABLES)}), and nothing of W&B, "
            f"MLflow, Ray Tune, TensorBoard, a Trainer or a study{why}"
        )
    rest = [Part(str(path), frame_of([]), tuple(found.dropped))] if found.dropped else []
    return [*found.parts, *parts, *rest]


def _walk(path: Path) -> Iterator[tuple[Path, list[str], set[str]]]:
    for name, folders, files in os.walk(path):
        folders[:] = sorted(set(folders) - SKIPPED)
        yield Path(name), folders, set(files)


def _look(found: _Found, top: Path, folder: Path, folders: list[str], files: set[str]) -> None:
    """Read what one folder is; a tracker's run is not entered further (``folders`` is emptied)."""
    kind, rows = _tracker(top, folder, folders, files)
    if rows is not None:
        found.read(kind, folder, rows)
        if kind != "TensorBoard":
            folders.clear()
            return
    if {"events.jsonl", "runs.jsonl"} <= files:
        files = {"runs.jsonl"}
        folders.clear()
    for name in sorted(files):
        if name.lower().endswith(TABLES):
            try:
                found.parts.append(load_file(folder / name))
            except TableError as error:
                found.dropped.append((str(folder / name), str(error)))


def _tracker(
    top: Path, folder: Path, folders: list[str], files: set[str]
) -> tuple[str, Rows | None]:
    """Return which tracker wrote a folder and how its rows are read; ("", None) for none."""
    name = folder.relative_to(top).as_posix() if folder != top else folder.resolve().name
    steps = sorted(sub for sub in folders if sub.startswith("checkpoint-"))
    if is_wandb_folder(files):
        return "W&B", lambda: [wandb_row(folder)]
    if is_mlflow_run(files, set(folders)):
        return "MLflow", lambda: mlflow_rows(folder)
    if is_ray_trial(files):
        return "Ray Tune", lambda: ray_rows(folder)
    if "trainer_state.json" in files or any(_is_checkpoint(folder / sub) for sub in steps):
        return "Trainer", lambda: trainer_folder(folder)
    if any(is_event_file(file) for file in files):
        return "TensorBoard", lambda: tensorboard_rows(folder, name)
    return "", None


def _is_checkpoint(folder: Path) -> bool:
    return (folder / "trainer_state.json").is_file()
