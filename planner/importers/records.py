"""JSON and JSON lines: a list of records, records inside a key, columns, or one record per name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from planner.errors import TableError
from planner.importers.part import BROKEN, Part, flat, frame_of
from planner.importers.study import is_study_line, study_part
from planner.importers.trainer_state import is_trainer_state, trainer_rows

WELL_KNOWN = ("runs", "rows", "data", "records", "results", "trials")
"""Keys that hold the records when several lists stand beside each other."""


def read_records(text: str, source: str) -> Part:
    """Read JSON or JSON lines. Raises TableError with what was found instead of records."""
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        return _read_lines(text, source, error)
    if isinstance(data, Mapping) and is_trainer_state(data):
        try:
            return Part(source, frame_of(trainer_rows(data, PurePath(source).stem)))
        except BROKEN as error:
            raise TableError(f"{source} is no state of a Trainer: {error!r}") from None
    records = _records(data, source)
    if records and all("_step" in record for record in records):
        # A history of W&B: rows of one run, named by the file alone.
        name = PurePath(source).stem
        records = [{"run": name, "key": name, **record} for record in records]
    return _part(records, source, ())


def _read_lines(text: str, source: str, error: json.JSONDecodeError) -> Part:
    """Read one record per line; a line that is none (cut by a crash) is dropped and named."""
    records, dropped = [], []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            record = None
        if isinstance(record, Mapping):
            records.append(record)
        else:
            dropped.append((f"{source} line {number}", "it is not one JSON record {...}"))
    if not records:
        raise TableError(
            f"{source} is neither JSON nor JSON lines: {error}; it must be a list of records, or "
            "one record {...} per line"
        )
    return _part(records, source, tuple(dropped))


def _part(
    records: list[Mapping[str, Any]], source: str, dropped: tuple[tuple[str, str], ...]
) -> Part:
    if records and all(is_study_line(record) for record in records):
        return study_part(records, source, dropped)
    return Part(source, frame_of([flat(record) for record in records]), dropped)


def _records(data: object, source: str) -> list[Mapping[str, Any]]:
    if isinstance(data, list) and all(isinstance(row, Mapping) for row in data):
        return data
    if isinstance(data, Mapping):
        lists = {str(k): v for k, v in data.items() if _is_records(v)}
        named = [key for key in WELL_KNOWN if key in lists]
        if len(lists) == 1 or named:
            return list(lists[named[0]] if named else next(iter(lists.values())))
        if lists:
            raise TableError(
                f"{source} holds several lists of records: {', '.join(lists)}; save the one with "
                "the runs to a file of its own"
            )
        if columns := _columns(data):
            return columns
        if data and all(isinstance(value, Mapping) for value in data.values()):
            return [{"key": str(name)} | dict(value) for name, value in data.items()]
        if _is_run(data):
            return [data]
    raise TableError(
        f"{source} holds no records: it must be a list of {{...}}, a key with such a list, "
        'columns {"loss": [...]}, or one {...} per run'
    )


def _is_records(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(r, Mapping) for r in value)


def _is_run(data: Mapping[str, Any]) -> bool:
    """Say whether a lone mapping is one run: it holds a number under a name with a loss in it."""
    return any("loss" in str(k) and isinstance(v, int | float | str) for k, v in flat(data).items())


def _columns(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the rows of columns {"loss": [..]} or {"loss": {"0": ..}}, [] when it is neither."""
    values = list(data.values())
    if values and all(isinstance(v, list) for v in values) and len({len(v) for v in values}) == 1:
        return [dict(zip(data, row, strict=True)) for row in zip(*values, strict=True)]
    maps = [v for v in values if isinstance(v, Mapping)]
    numbered = maps and len(maps) == len(values) and all(str(k).isdigit() for m in maps for k in m)
    if not numbered:
        return []
    places = list(dict.fromkeys(place for column in maps for place in column))
    return [{name: column.get(p) for name, column in data.items()} for p in places]
