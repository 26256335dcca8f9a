"""Hugging Face Trainer: trainer_state.json, whose log_history holds one record per logging.

``loss`` is the training loss there and ``eval_loss`` the validation loss; ``learning_rate`` is that
of the step; ``total_flos`` is the library's own estimate of 6 N D over non-embedding parameters.
A state whose ``global_step`` is short of ``max_steps`` is of a run that did not finish.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from planner.errors import TableError
from planner.importers.part import flat

_OURS = {"loss": "train_loss", "step": "steps"}
_HEAD = ("max_steps", "train_batch_size", "num_train_epochs")
_SHAPE = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")


def is_trainer_state(data: Mapping[str, Any]) -> bool:
    """Say whether a mapping is the state of a Trainer."""
    return isinstance(data.get("log_history"), list) and "global_step" in data


def trainer_rows(state: Mapping[str, Any], run: str) -> list[dict[str, Any]]:
    """Return one row per step that logged something; what was set is repeated in each."""
    step, planned = int(state["global_step"]), int(state.get("max_steps") or 0)
    head: dict[str, Any] = {"run": run, "key": run}
    head |= {"status": "unfinished" if planned > step else "done"}
    head |= {f"config.{name}": state[name] for name in _HEAD if name in state}
    rows: dict[int, dict[str, Any]] = {}
    for entry in state["log_history"]:
        row = rows.setdefault(int(entry.get("step", step)), {})
        row |= {_OURS.get(name, name): value for name, value in entry.items()}
    last = rows.setdefault(step, {})
    for name in ("total_flos", "num_input_tokens_seen"):
        if state.get(name):
            last[name] = state[name]
    return [head | rows[at] | {"steps": at} for at in sorted(rows)]


def trainer_folder(folder: Path) -> list[dict[str, Any]]:
    """Read the state of a run's folder, or of its newest checkpoint, with the model's shape."""
    files = [folder / "trainer_state.json", *folder.glob("checkpoint-*/trainer_state.json")]
    states = [(file, _load(file)) for file in files if file.is_file()]
    file, state = max(states, key=lambda found: int(found[1]["global_step"]))
    shape = file.parent / "config.json"
    known = _load(shape) if shape.is_file() else {}
    config = flat({name: known[name] for name in _SHAPE if name in known}, "config")
    return [config | row for row in trainer_rows(state, folder.resolve().name)]


def _load(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TableError(f"{file} cannot be read: {error}") from None
    if not isinstance(data, dict):
        raise TableError(f"{file} is not the state of a Trainer: it is no mapping")
    return data
