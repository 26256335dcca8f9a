"""Training curves in: one table of all runs, or a folder with one file a run (contracts.md 5).

A table needs ``run`` (the run's key), ``tokens`` or ``step``, ``lr`` and ``loss`` (or
``train_loss``); a file in a folder is named after its run and needs no ``run`` column, as
``curves/<key>.parquet`` of a study. CSV, JSON lines and Parquet are read.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from planner.arrays import Floats
from planner.curve import Curve
from planner.errors import TableError

LOSSES = ("loss", "train_loss")
POSITIONS = ("tokens", "step")
SUFFIXES = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".ndjson", ".parquet")


def read_curves(path: Path | str) -> tuple[Curve, ...]:
    """Read every curve, in the order of the runs' names.

    Rows without a loss or a position are left out: exports log other things on rows of their own.
    In a folder ``lr`` may be missing (nan throughout), since not every trainer reports it. Raises
    TableError with what is missing.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
    frame = _load(path)
    lacking = [name for name in ("run", "lr") if name not in frame.columns]
    if lacking:
        raise TableError(
            f"the curves {path} have no `{'` and no `'.join(lacking)}`; a table of curves needs "
            "run, tokens or step, lr and loss (a folder needs one file per run, named after it)"
        )
    frame = frame[frame["run"].notna()]
    named = frame["run"].astype(str)
    curves = (_curve(str(run), rows, path) for run, rows in frame.groupby(named, sort=True))
    return _some(tuple(curve for curve in curves if len(curve)), path)


def _read_folder(folder: Path) -> tuple[Curve, ...]:
    """Read one curve per file; the file's name without its suffix is the run."""
    curves = []
    for file in sorted(folder.iterdir()):
        suffix = next((s for s in SUFFIXES if file.name.lower().endswith(s)), "")
        if suffix:
            curves.append(_curve(file.name[: -len(suffix)], _load(file), file))
    return _some(tuple(curve for curve in curves if len(curve)), folder)


def _some(curves: tuple[Curve, ...], path: Path) -> tuple[Curve, ...]:
    if not curves:
        raise TableError(
            f"{path} holds no curve; it must hold rows of tokens or step, lr and loss, in one "
            f"table or in one file per run ({', '.join(SUFFIXES)})"
        )
    return curves


def _load(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise TableError(f"the curves {path} do not exist")
    kind = path.name.lower()
    try:
        if kind.endswith((".csv", ".csv.gz")):
            return pd.read_csv(path, skipinitialspace=True, dtype={"run": str})
        if kind.endswith((".jsonl", ".jsonl.gz", ".ndjson")):
            return pd.read_json(path, lines=True, dtype={"run": str})
        if kind.endswith(".parquet"):
            return pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise TableError(f"the curves {path} cannot be read: {error}") from error
    raise TableError(f"the curves {path} are neither .csv, .jsonl nor .parquet; convert them")


def _curve(run: str, frame: pd.DataFrame, path: Path) -> Curve:
    """Make one run's curve from its rows. Raises TableError for a missing column."""
    loss = next((name for name in LOSSES if name in frame.columns), None)
    if loss is None:
        raise TableError(f"the curves {path} have no `loss` and no `train_loss`")
    if not any(name in frame.columns for name in POSITIONS):
        raise TableError(f"the curves {path} have no `tokens` and no `step`")
    columns = {name: _floats(frame, name) for name in (*POSITIONS, "lr", loss)}
    place = np.where(np.isnan(columns["tokens"]), columns["step"], columns["tokens"])
    sound = np.flatnonzero(~np.isnan(place) & ~np.isnan(columns[loss]))
    order = sound[np.argsort(place[sound], kind="stable")]
    return Curve(run, *(columns[name][order] for name in ("tokens", "step", "lr", loss)))


def _floats(frame: pd.DataFrame, name: str) -> Floats:
    """Return a column as floats: nan where it is missing or no number."""
    if name not in frame.columns:
        return np.full(len(frame), np.nan)
    return pd.to_numeric(frame[name], errors="coerce").to_numpy(np.float64)
