"""``planner import``: real exports to one table that every command reads (contracts.md section 5).

Numbers are written so that they come back to the last bit. Nothing that was read is lost without a
line in the report: rows that were dropped, and columns that planner does not know (they are kept).
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from planner._log import replace_file
from planner.errors import TableError
from planner.table.clean import Clean, clean
from planner.table.names import KNOWN, NUMBERS, ORDER, meaning
from planner.table.numbers import to_floats


@dataclass(frozen=True)
class ImportReport:
    """What ``planner import`` did.

    ``rows`` were written, ``bounds`` of them are upper bounds. ``dropped`` holds (row name, reason)
    pairs, ``notes`` sentences on what was taken and inferred, ``unknown_columns`` what was kept
    without being understood.
    """

    out: Path
    rows: int
    bounds: int
    dropped: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    unknown_columns: tuple[str, ...]


def import_runs(
    sources: Sequence[Path | str],
    out: Path | str,
    maps: Sequence[str] = (),
    *,
    where: str | None = None,
    all_rows: bool = False,
) -> ImportReport:
    """Write the runs of files and folders to one table, .csv, .tsv, .jsonl or .parquet.

    ``maps`` and ``where`` are those of :func:`planner.table.read_runs`; ``all_rows`` keeps the
    earlier rows of each run, marked as checkpoints. Raises TableError with what is missing.
    """
    paths, target = [Path(source) for source in sources], Path(out)
    encode = _writer(target)
    if not paths:
        raise TableError("planner import needs at least one file or folder to read")
    for path in paths:
        if target.exists() and path.exists() and path.samefile(target):
            raise TableError(f"--out {out} is one of the sources; write to another file")
    rows = clean(paths, maps, where, all_rows=all_rows)
    content = encode(_table(rows))
    if target.name.endswith(".gz"):
        content = gzip.compress(content, mtime=0)
    target.parent.mkdir(parents=True, exist_ok=True)
    replace_file(target, content)
    bounds = int(rows.censored.sum())
    return ImportReport(target, len(rows.frame), bounds, rows.dropped, rows.notes, rows.unknown)


def _table(rows: Clean) -> pd.DataFrame:
    """Return the columns of contracts.md section 5 first, then all others, empty ones of ours out.

    N, D or C that was only inferred is not written: it would pass for a fact.
    """
    theirs = [name for name in rows.frame.columns if name not in KNOWN]
    # Another validation loss beside ours would make the written table ambiguous.
    columns = {
        f"{name} (theirs)" if meaning(name) == "loss" else name: rows.frame[name] for name in theirs
    }
    ours: dict[str, pd.Series] = {}
    for name in ORDER:
        if name in NUMBERS and name in rows.numbers:
            ours[name] = _whole(rows.numbers[name])
        elif name in rows.frame.columns and name not in NUMBERS:
            ours[name] = rows.frame[name]
    ours = {n: c for n, c in ours.items() if (c.notna() & (c.astype(object) != "")).any()}
    return pd.DataFrame(ours | columns).reset_index(drop=True)


def _whole(column: pd.Series) -> pd.Series:
    """Return counts as integers where that loses nothing."""
    known = column[np.isfinite(column)]
    exact = len(known) == column.notna().sum() and (known % 1 == 0).all()
    return column.astype("Int64") if exact and (known.abs() < 2**53).all() else column


def _writer(out: Path) -> Callable[[pd.DataFrame], bytes]:
    for suffix, writer in WRITERS.items():
        if out.name.lower().endswith((suffix, f"{suffix}.gz")):
            return writer
    raise TableError(f"--out {out} ends in none of {', '.join(WRITERS)}, so its format is unknown")


def _csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False, lineterminator="\n").encode()


def _tsv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False, sep="\t", lineterminator="\n").encode()


def _jsonl(frame: pd.DataFrame) -> bytes:
    typed = _typed(frame)
    columns = [typed[name].astype(object).where(typed[name].notna(), None) for name in typed]
    lines = (
        json.dumps(dict(zip(typed.columns, map(_plain, row), strict=True)), ensure_ascii=False)
        for row in zip(*columns, strict=True)
    )
    return ("\n".join(lines) + "\n").encode()


def _plain(value: object) -> object:
    """Return a numpy or pandas scalar as what JSON can hold."""
    return value.item() if isinstance(value, np.generic) else value


def _parquet(frame: pd.DataFrame) -> bytes:
    content = io.BytesIO()
    _typed(frame).to_parquet(content, index=False)
    return content.getvalue()


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Return text columns that are numbers throughout as numbers, all other ones as text."""
    columns = {}
    for name in frame.columns:
        column = frame[name]
        if column.dtype == object:
            known = column[column.notna() & (column.astype(str) != "")]
            numbers = to_floats(known) if name not in KNOWN else np.full(len(known), np.nan)
            if len(known) and np.isfinite(numbers).all() and known.map(_is_plain).all():
                column = pd.Series(to_floats(column), index=column.index)
            else:
                column = known.map(str).reindex(column.index)
        columns[name] = column
    return pd.DataFrame(columns)


def _is_plain(cell: object) -> bool:
    """Say whether a cell is a plain decimal, not a truth and not a label such as 007."""
    if isinstance(cell, bool):
        return False
    text = str(cell).lstrip("+-")
    return not isinstance(cell, str) or text[:2].strip("0123456789") != "" or text[:1] != "0"


WRITERS: Mapping[str, Callable[[pd.DataFrame], bytes]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
