"""Ray Tune's results: one folder per trial with params.json and result.json or progress.csv.

Whether a trial ended stands in the experiment's state file beside the trials; without it, in the
``done`` of the last result and in error.txt.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from planner.importers.part import flat

WORDS = {"terminated": "done", "error": "crashed"}
"""Ray's own words where they mean something else than elsewhere."""
ERRORS = ("error.txt", "error.pkl")


def is_ray_trial(files: set[str]) -> bool:
    """Say whether these files are those of a trial."""
    return "params.json" in files and bool({"result.json", "progress.csv"} & files)


def ray_rows(folder: Path) -> list[dict[str, Any]]:
    """Read one trial, a row per report. Raises ValueError when it never reported."""
    params = json.loads((folder / "params.json").read_text(encoding="utf-8"))
    results = _results(folder)
    if not results:
        raise ValueError("the trial reported nothing")
    last = results[-1]
    run = str(last.get("trial_id") or folder.name)
    head: dict[str, Any] = {"run": run, "key": folder.name, "status": _status(folder, run, last)}
    head |= flat(params, "config")
    return [head | {n: v for n, v in row.items() if not n.startswith("config")} for row in results]


def _results(folder: Path) -> list[dict[str, Any]]:
    file = folder / "result.json"
    if file.is_file() and file.stat().st_size:
        lines = file.read_text(encoding="utf-8").splitlines()
        return [flat(record) for line in lines if (record := _record(line))]
    table = folder / "progress.csv"
    if not table.is_file():
        return []
    with table.open(newline="", encoding="utf-8") as rows:
        return [dict(row) for row in csv.DictReader(rows)]


def _record(line: str) -> Mapping[str, Any]:
    """Return a line's record, {} for the one a crash cut."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return record if isinstance(record, Mapping) else {}


def _status(folder: Path, run: str, last: Mapping[str, Any]) -> str:
    if any((folder / name).is_file() for name in ERRORS):
        return "crashed"
    known = _states(folder.parent).get(run, "")
    if known:
        return WORDS.get(known, known)
    return "done" if str(last.get("done")).lower() == "true" else ""


def _states(experiment: Path) -> dict[str, str]:
    """Return the status of each trial by the newest experiment_state file, {} without one."""
    files = sorted(experiment.glob("experiment_state-*.json"))
    if not files:
        return {}
    try:
        data = json.loads(files[-1].read_text(encoding="utf-8"))
    except ValueError:
        return {}
    # Newer files list [state, runtime] pairs, older ones states alone; both as JSON in a string.
    listed = data.get("trial_data") or data.get("checkpoints") or []
    states = [item[0] if isinstance(item, list) else item for item in listed]
    trials = [json.loads(state) if isinstance(state, str) else state for state in states]
    return {str(t.get("trial_id")): str(t.get("status", "")).lower() for t in trials}
