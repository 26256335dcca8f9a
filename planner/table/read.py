"""Runs tables in and out: CSV, Parquet and JSON lines (contracts.md section 5).

A table needs ``loss`` and two of ``params`` (or params_matmul, params_non_embedding, params_total),
``tokens`` and ``flops``; the third follows from C = 6 N D, and that is recorded. Rows that cannot
be used are dropped and listed with the reason; columns nobody knows are listed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from planner.errors import TableError
from planner.observations import Observations
from planner.run import Run
from planner.where import parse_where

N_COLUMNS = ("params_matmul", "params_non_embedding", "params_total", "params")
NUMBERS = (
    *N_COLUMNS,
    *("tokens", "flops", "loss", "loss_se", "lr", "batch_tokens", "batch_seqs", "seq_len"),
    *("unique_tokens", "epochs"),
)
LABELS = ("key", "status", "parent", "n_convention", "flops_convention")
CARRIED = (
    *("study", "stage", "warmup_tokens", "schedule", "decay_ratio", "final_lr_ratio"),
    *("weight_decay", "beta2", "width", "depth", "heads", "vocab", "context", "seed", "seconds"),
    *("device", "proxy", "data_hash", "git_sha"),
)
KNOWN = (*NUMBERS, *LABELS, *CARRIED)
ALIASES = {
    "params": ("n", "model size", "n_params", "num_params", "parameter_count", "parameters"),
    "tokens": ("d", "n_tokens", "num_tokens", "total_tokens", "train_tokens"),
    "flops": ("c", "compute", "training flop", "total_flops", "train_flops"),
    "loss": ("val_loss", "validation_loss", "eval_loss", "final_loss", "smooth loss"),
}
"""What other people call the needed columns: used only to suggest a --map."""
_SCALED = re.compile(r"^(.+?)\s*\*\s*(\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)$")


@dataclass(frozen=True)
class RunsTable:
    """A table as read: what can be fitted, and everything that was not used.

    ``dropped`` holds (row name, reason) pairs, ``notes`` sentences on what was inferred.
    """

    observations: Observations
    dropped: tuple[tuple[str, str], ...]
    unknown_columns: tuple[str, ...]
    notes: tuple[str, ...]


def read_runs(path: Path | str, maps: Sequence[str] = (), where: str | None = None) -> RunsTable:
    """Read a runs table.

    ``maps`` are ``theirs=ours`` or ``theirs*factor=ours``; ``where`` is ``column op number [and
    ...]`` with == meaning within .5 %. Raises TableError with what is missing.
    """
    frame = _load(Path(path))
    if frame.empty:
        raise TableError(f"the table {path} has no rows; it needs one row per finished run")
    theirs = set(frame.columns)
    frame, used = _mapped(frame, maps)
    if where:
        frame = frame[_selected(frame, where)]
        if frame.empty:
            raise TableError(f"no row of {path} satisfies --where '{where}'")
    names = _row_names(frame)
    numbers, notes = _numbers(frame, str(path))
    reasons = _reasons(frame, numbers)
    sound = reasons == ""
    if not sound.any():
        first = "; ".join(sorted(set(reasons))[:3])
        raise TableError(f"no row of {path} can be used: {first}")
    observations = _observations(frame[sound], numbers[sound], names[sound])
    dropped = tuple(zip(names[~sound], reasons[~sound], strict=True))
    unknown = tuple(sorted(theirs - set(KNOWN) - used))
    return RunsTable(observations, dropped, unknown, (*notes, *_repeats(numbers[sound])))


def runs_frame(runs: Sequence[Run]) -> pd.DataFrame:
    """Return one flat row per run with the columns of contracts.md section 5."""
    rows = []
    for run in runs:
        row = run.to_json()
        nested = [name for name, value in row.items() if isinstance(value, dict | list)]
        flat = {name: value for name, value in row.items() if name not in nested}
        scalars = {k: v for k, v in run.trial.shape.items() if not isinstance(v, dict | list)}
        rows.append(scalars | flat | {"flops_convention": "6N+attn"})
    return pd.DataFrame(rows)


def _load(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise TableError(f"the table {path} does not exist")
    kind = path.name.lower()
    try:
        if kind.endswith((".csv", ".csv.gz")):
            return pd.read_csv(path, skipinitialspace=True)
        if kind.endswith((".jsonl", ".jsonl.gz", ".ndjson")):
            return pd.read_json(path, lines=True)
        if kind.endswith(".parquet"):
            return pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise TableError(f"the table {path} cannot be read: {error}") from error
    raise TableError(f"the table {path} is neither .csv, .jsonl nor .parquet; convert it to one")


def _mapped(frame: pd.DataFrame, maps: Sequence[str]) -> tuple[pd.DataFrame, set[str]]:
    """Add the mapped columns beside theirs; return the frame and the names that were used."""
    frame, used = frame.copy(), set()
    for text in maps:
        source, _, target = (part.strip() for part in text.rpartition("="))
        if not source:
            raise TableError(f"--map '{text}' is not of the form theirs=ours or theirs*factor=ours")
        if target not in KNOWN:
            raise TableError(
                f"--map '{text}': planner knows no `{target}`{_nearest(target, KNOWN)}"
            )
        factor = 1.0
        scaled = _SCALED.match(source)
        if source not in frame.columns and scaled:
            source, factor = scaled[1].strip(), float(scaled[2])
        if source not in frame.columns:
            raise TableError(
                f"--map '{text}': the table has no `{source}`{_nearest(source, frame.columns)}"
            )
        column = frame[source]
        frame[target] = column if factor == 1.0 else _to_float(column) * factor
        used.add(source)
    return frame, used


def _selected(frame: pd.DataFrame, where: str) -> np.ndarray:
    """Return the mask of rows that satisfy every clause."""
    keep = np.ones(len(frame), dtype=bool)
    for clause in parse_where(where):
        if clause.name not in frame.columns:
            raise TableError(
                f"--where: the table has no `{clause.name}`{_nearest(clause.name, frame.columns)}"
            )
        keep &= clause.holds(_to_float(frame[clause.name]).to_numpy())
    return keep


def _numbers(frame: pd.DataFrame, path: str) -> tuple[pd.DataFrame, list[str]]:
    """Return the columns a fit needs as floats, the third of N, D and C filled in, and notes."""
    numbers = pd.DataFrame(
        {name: _to_float(frame[name]) for name in NUMBERS if name in frame.columns},
        index=frame.index,
    )
    if "loss" not in numbers:
        raise TableError(f"the table {path} has no `loss`{_suggestion('loss', frame)}")
    convention = _n_convention(frame, numbers, path)
    if convention:
        numbers["n"] = numbers[convention]
    have = {
        name: name in numbers and numbers[name].notna().any() for name in ("n", "tokens", "flops")
    }
    if sum(have.values()) < 2:
        lacking = [{"n": "params"}.get(name, name) for name, there in have.items() if not there]
        hints = "".join(_suggestion(name, frame) for name in lacking)
        raise TableError(
            f"the table {path} has no `{'` and no `'.join(lacking)}`; two of params, tokens and "
            f"flops are needed{hints}"
        )
    notes = [f"N is the column {convention}."] if convention else []
    if not all(have.values()):
        missing = min(have, key=lambda name: have[name])
        numbers[missing] = _third(numbers, missing)
        notes.append(f"{'params' if missing == 'n' else missing} inferred from C = 6 N D.")
    numbers.attrs = {
        "n_convention": _stated(frame, "n_convention", _SPOKEN.get(convention, "unspecified")),
        "flops_convention": _stated(
            frame, "flops_convention", "table" if all(have.values()) else "6ND"
        ),
    }
    return numbers, notes


def _third(numbers: pd.DataFrame, missing: str) -> pd.Series:
    if missing == "flops":
        return 6.0 * numbers["n"] * numbers["tokens"]
    other = "n" if missing == "tokens" else "tokens"
    return numbers["flops"] / (6.0 * numbers[other])


_SPOKEN = {name: name for name in N_COLUMNS[:3]}


def _n_convention(frame: pd.DataFrame, numbers: pd.DataFrame, path: str) -> str:
    """Return the column that serves as N; TableError when rows use different ones."""
    there = [name for name in N_COLUMNS if name in numbers and numbers[name].notna().any()]
    if not there:
        return ""
    lacking = numbers[there[0]].isna()
    for other in there[1:]:
        if (lacking & numbers[other].notna()).any():
            raise TableError(
                f"the table {path} mixes parameter conventions: some rows have {there[0]}, others "
                f"only {other}; fill one column for every row, or select rows with --where"
            )
    return there[0]


def _stated(frame: pd.DataFrame, name: str, default: str) -> str:
    """Return the one value of a convention column, or the default when there is none."""
    values = sorted(set(frame[name].dropna().astype(str))) if name in frame.columns else []
    if len(values) > 1:
        raise TableError(f"the table mixes {name}: {', '.join(values)}; fit them one at a time")
    return values[0] if values else default


def _reasons(frame: pd.DataFrame, numbers: pd.DataFrame) -> np.ndarray:
    """Return why each row cannot be used, "" where it can."""
    reasons = np.full(len(frame), "", dtype=object)
    for name in ("n", "tokens", "flops", "loss"):
        shown = frame[name] if name in frame.columns else numbers[name]
        values = numbers[name].to_numpy()
        label = "params" if name == "n" else name
        for i in np.flatnonzero((reasons == "") & ~(np.isfinite(values) & (values > 0))):
            hint = " (6*N*D overflows 64-bit integers)" if name == "flops" and values[i] < 0 else ""
            reasons[i] = f"{label} is {shown.iloc[i]}, not a positive number{hint}"
    if "status" in frame.columns:
        status = frame["status"].fillna("done").astype(str).str.lower().to_numpy()
        for i in np.flatnonzero(~np.isin(status, ["done", "finished", "completed"])):
            reasons[i] = f"status is {status[i]}, so its loss is not a final one"
    return reasons


def _observations(frame: pd.DataFrame, numbers: pd.DataFrame, names: np.ndarray) -> Observations:
    def column(name: str) -> np.ndarray:
        known = numbers[name].to_numpy() if name in numbers else np.full(len(frame), np.nan)
        return known.astype(np.float64)

    sequences = column("batch_seqs") * column("seq_len")
    parent = frame["parent"] if "parent" in frame.columns else [None] * len(frame)
    return Observations(
        params=column("n"),
        tokens=column("tokens"),
        flops=column("flops"),
        loss=column("loss"),
        loss_se=column("loss_se"),
        lr=column("lr"),
        batch_tokens=column("batch_tokens") if "batch_tokens" in numbers else sequences,
        group=tuple(
            str(p) if isinstance(p, str) and p else name
            for p, name in zip(parent, names, strict=True)
        ),
        key=tuple(names),
        n_convention=numbers.attrs["n_convention"],
        flops_convention=numbers.attrs["flops_convention"],
    )


def _row_names(frame: pd.DataFrame) -> np.ndarray:
    if "key" in frame.columns:
        return frame["key"].astype(str).to_numpy()
    return np.array([f"row {i + 1}" for i in frame.index], dtype=object)


def _repeats(numbers: pd.DataFrame) -> list[str]:
    epochs = numbers["epochs"] if "epochs" in numbers else pd.Series(dtype=float)
    if "unique_tokens" in numbers:
        epochs = numbers["tokens"] / numbers["unique_tokens"]
    repeated = epochs[epochs > 1.01]
    if repeated.empty:
        return []
    return [
        f"{len(repeated)} runs repeat their data, up to {repeated.max():.1f} times; their tokens "
        "are not unique tokens, and beyond 4 repeats they are worth clearly less."
    ]


def _to_float(column: pd.Series) -> pd.Series:
    if column.dtype == object or pd.api.types.is_string_dtype(column):
        column = column.astype(str).str.replace(r"[,_\s]", "", regex=True)
    return pd.to_numeric(column, errors="coerce").astype(np.float64)


def _nearest(name: str, names: Sequence[str] | pd.Index) -> str:
    lower = {str(known).lower(): str(known) for known in names}
    close = difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.5)
    shown = [lower[c] for c in close] or list(lower.values())[:12]
    return f"; {'nearest' if close else 'there are'}: {', '.join(shown)}"


def _suggestion(name: str, frame: pd.DataFrame) -> str:
    lower = {str(column).lower(): str(column) for column in frame.columns}
    for alias in ALIASES[name]:
        if alias in lower:
            return f"; if `{lower[alias]}` is it, add --map '{lower[alias]}={name}'"
    return _nearest(name, frame.columns)
