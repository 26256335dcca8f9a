"""MLflow's file store: mlruns/<experiment>/<run>/{meta.yaml, params/, metrics/, tags/}.

A parameter is a file with its value; a metric is a file with a line ``time value step`` per
logging. Each step that logged a metric becomes a row of the run, as a history.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

STATUS = {"1": "running", "2": "scheduled", "3": "finished", "4": "failed", "5": "killed"}
"""The run status as meta.yaml numbers it."""


def is_mlflow_run(files: set[str], folders: set[str]) -> bool:
    """Say whether a folder is a run (and not the experiment that holds it)."""
    return "meta.yaml" in files and bool({"metrics", "params"} & folders)


def mlflow_rows(folder: Path) -> list[dict[str, Any]]:
    """Read one run, a row per step; a run without metrics is one row.

    Raises ValueError for a deleted run, and for a metric that is no number.
    """
    meta = _meta(folder / "meta.yaml")
    if meta.get("lifecycle_stage") == "deleted":
        raise ValueError("the run was deleted in MLflow")
    run = meta.get("run_id") or meta.get("run_uuid") or folder.name
    tags = {name: _text(file) for name, file in _entries(folder / "tags")}
    status = meta.get("status", "")
    head: dict[str, Any] = {"run": run}
    head |= {"key": meta.get("run_name") or tags.get("mlflow.runName") or run}
    head |= {"status": STATUS.get(status, status.lower())}
    if "mlflow.source.git.commit" in tags:
        head["git_sha"] = tags["mlflow.source.git.commit"]
    head |= {f"params.{name}": _text(file) for name, file in _entries(folder / "params")}
    rows: dict[int, dict[str, Any]] = {}
    for name, file in _entries(folder / "metrics"):
        for step, value in _logged(file):
            rows.setdefault(step, {})[f"metrics.{name}"] = value
    return [head | rows[step] | {"steps": step} for step in sorted(rows)] or [head]


def _meta(file: Path) -> dict[str, str]:
    """Read the flat ``name: value`` lines of meta.yaml."""
    pairs = (line.partition(":") for line in _text(file).splitlines())
    return {name.strip(): value.strip().strip("'\"") for name, _, value in pairs if value.strip()}


def _entries(folder: Path) -> list[tuple[str, Path]]:
    """Return (name, file) below a folder; a slash in a name is a folder of its own."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return [(file.relative_to(folder).as_posix(), file) for file in files]


def _logged(file: Path) -> list[tuple[int, float]]:
    logged = []
    for line in _text(file).splitlines():
        words = line.split()
        if len(words) >= 2:
            logged.append((int(words[2]) if len(words) > 2 else 0, float(words[1])))
    return logged


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8").strip()
