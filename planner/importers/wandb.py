"""W&B's run folders: files/config.yaml, files/wandb-summary.json, files/wandb-metadata.json.

The summary holds the last value of everything logged, so a run is one row. The folder does not say
whether the run finished: that is told from its planned steps where the config names them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from planner.importers.part import flat

_RUN = re.compile(r"^(?:offline-)?run-\d{8}_\d{6}-(\w+)$")


def is_wandb_folder(files: set[str]) -> bool:
    """Say whether these files are those of a run."""
    return "wandb-summary.json" in files


def wandb_row(folder: Path) -> dict[str, Any]:
    """Read the folder of files of one run. Raises ValueError for files that are cut."""
    home = folder.parent if folder.name == "files" else folder
    match = _RUN.match(home.name)
    run = match[1] if match else home.name
    summary = json.loads((folder / "wandb-summary.json").read_text(encoding="utf-8"))
    row: dict[str, Any] = {"run": run, "key": run}
    row |= flat(_config(folder / "config.yaml"), "config")
    row |= {k: v for k, v in flat(summary, "summary").items() if "._wandb" not in k}
    about = folder / "wandb-metadata.json"
    told = json.loads(about.read_text(encoding="utf-8")) if about.is_file() else {}
    if isinstance(told.get("git"), Mapping) and told["git"].get("commit"):
        row["git_sha"] = told["git"]["commit"]
    if told.get("gpu"):
        row["device"] = told["gpu"]
    return row


def _config(file: Path) -> dict[str, Any]:
    """Return what was set: each key holds its value, and maybe a description, one level down."""
    if not file.is_file():
        return {}
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        data = YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))
    except YAMLError as error:
        raise ValueError(f"config.yaml is no YAML: {error}") from None
    return {
        name: entry["value"]
        for name, entry in (data or {}).items()
        if isinstance(entry, Mapping) and "value" in entry and name != "_wandb"
    }
