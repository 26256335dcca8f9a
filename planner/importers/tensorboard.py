"""TensorBoard event files: the scalars of a run by step, its hparams, hparams.yaml beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from planner.importers._events import scalars
from planner.importers._tfrecord import records
from planner.importers.part import flat


def is_event_file(name: str) -> bool:
    """Say whether a file name is that of an event file."""
    return "tfevents" in name


def tensorboard_rows(folder: Path, name: str) -> list[dict[str, Any]]:
    """Read all event files of one run's folder, a row per step that logged a scalar.

    Raises ValueError for damage; files of a restarted run follow each other in time.
    """
    rows: dict[int, dict[str, Any]] = {}
    head: dict[str, Any] = {"run": name, "key": name}
    head |= _yaml(folder / "hparams.yaml")
    for file in sorted(path for path in folder.iterdir() if is_event_file(path.name)):
        for record in records(file):
            step, found, config = scalars(record)
            head |= config
            if found:
                rows.setdefault(step, {}).update(found)
    return [head | rows[step] | {"steps": step} for step in sorted(rows)]


def _yaml(file: Path) -> dict[str, Any]:
    """Return what Lightning saves beside its events."""
    if not file.is_file():
        return {}
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        data = YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))
    except YAMLError as error:
        raise ValueError(f"hparams.yaml is no plain YAML: {error}") from None
    return flat(data, "hparams") if isinstance(data, dict) else {}
