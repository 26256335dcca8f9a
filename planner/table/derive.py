"""What follows from other columns, row by row where it is missing.

    batch_tokens = batch_seqs seq_len      tokens = steps batch_tokens
    warmup_tokens = warmup_steps batch_tokens      epochs = tokens / unique_tokens
    the third of N, D and C from C = 6 N D

One convention of N and of FLOPs serves a whole table (contracts.md section 1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from planner.arrays import Flags, Floats, Labels
from planner.errors import TableError
from planner.table.names import N_COLUMNS, suggestion

PRODUCTS = (
    ("seq_len", ("context",), "batch_seqs"),
    ("batch_tokens", ("batch_seqs", "seq_len"), ""),
    ("tokens", ("steps", "batch_tokens"), ""),
    ("warmup_tokens", ("warmup_steps", "batch_tokens"), ""),
)
"""(ours, what it is the product of, a column without which nobody needs it)."""


def derive(numbers: pd.DataFrame, status: Labels) -> list[str]:
    """Fill missing numbers in place where others give them; return a note per column filled."""
    notes = []
    for ours, factors, wanted in PRODUCTS:
        if (wanted and wanted not in numbers) or any(name not in numbers for name in factors):
            continue
        if _fill(numbers, ours, numbers[list(factors)].prod(axis=1, skipna=False).to_numpy()):
            notes.append(f"{ours} is {' x '.join(factors)} where it is missing.")
    if {"planned_steps", "batch_tokens"} <= set(numbers):
        planned = (numbers["planned_steps"] * numbers["batch_tokens"]).to_numpy()
        ended = np.isin(status, ["", "done"])
        if _fill(numbers, "tokens", np.where(ended, planned, np.nan)):
            notes.append("tokens is planned_steps x batch_tokens where only the plan is known.")
    if {"tokens", "unique_tokens"} <= set(numbers):
        _fill(numbers, "epochs", (numbers["tokens"] / numbers["unique_tokens"]).to_numpy())
    return notes


def _fill(numbers: pd.DataFrame, ours: str, values: Floats) -> bool:
    known = numbers[ours].to_numpy() if ours in numbers else np.full(len(numbers), np.nan)
    new = np.isnan(known) & np.isfinite(values)
    if new.any():
        numbers[ours] = np.where(new, values, known)
    return bool(new.any())


def n_column(numbers: pd.DataFrame, table: str) -> str:
    """Return the column that serves as N, "" for none; TableError when rows use different ones."""
    there = [name for name in N_COLUMNS if name in numbers and numbers[name].notna().any()]
    lost = numbers["loss"].isna()
    for other in there[1:]:
        if (numbers[there[0]].isna() & numbers[other].notna() & ~lost).any():
            raise TableError(
                f"the table {table} mixes parameter conventions: some rows have {there[0]}, others "
                f"only {other}; fill one column for every row, or select rows with --where"
            )
    return there[0] if there else ""


def check_needed(numbers: pd.DataFrame, columns: Sequence[str], table: str) -> None:
    """Raise TableError unless two of N, tokens and flops are there."""
    have = {
        "params": any(name in numbers and numbers[name].notna().any() for name in N_COLUMNS),
        "tokens": "tokens" in numbers and numbers["tokens"].notna().any(),
        "flops": "flops" in numbers and numbers["flops"].notna().any(),
    }
    if sum(have.values()) >= 2:
        return
    lacking = [name for name, there in have.items() if not there]
    raise TableError(
        f"the table {table} has no `{'` and no `'.join(lacking)}`; two of params, tokens and "
        f"flops are needed{suggestion(lacking, columns)}"
    )


def complete(numbers: pd.DataFrame, convention: str) -> tuple[Mapping[str, Floats], str, list[str]]:
    """Return N, D and C (n,) with the third inferred, the convention of C, and notes."""
    blank = np.full(len(numbers), np.nan)
    n = numbers[convention].to_numpy().copy() if convention else blank.copy()
    d = numbers["tokens"].to_numpy().copy() if "tokens" in numbers else blank.copy()
    c = numbers["flops"].to_numpy().copy() if "flops" in numbers else blank.copy()
    no_n, no_d, no_c = np.isnan(n), np.isnan(d), np.isnan(c)
    whole = ~(no_n | no_d | no_c)
    notes = [f"N is the column {convention}."] if convention else []
    lacking: dict[str, Flags] = {
        "params": no_n & ~no_d & ~no_c,
        "tokens": no_d & ~no_n & ~no_c,
        "flops": no_c & ~no_n & ~no_d,
    }
    if lacking["flops"].any() and whole.any():
        known = int((~no_c).sum())
        notes.append(f"flops is known for only {known} of {len(c)} rows; 6 N D is used for all.")
        lacking["flops"] |= whole
        whole[:] = False
    n = np.where(lacking["params"], c / (6.0 * d), n)
    d = np.where(lacking["tokens"], c / (6.0 * n), d)
    c = np.where(lacking["flops"], 6.0 * n * d, c)
    notes += [f"{name} inferred from C = 6 N D." for name, rows in lacking.items() if rows.any()]
    return {"params": n, "tokens": d, "flops": c}, "table" if whole.any() else "6ND", notes


def stated(frame: pd.DataFrame, name: str, default: str) -> str:
    """Return the one value of a convention column, or the default when there is none."""
    values = sorted(set(frame[name].dropna().astype(str)) - {""}) if name in frame.columns else []
    if len(values) > 1:
        raise TableError(f"the table mixes {name}: {', '.join(values)}; fit them one at a time")
    return values[0] if values else default
