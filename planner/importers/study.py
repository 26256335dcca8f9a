"""planner's own runs.jsonl: one line per ended trial, its shape among the columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from planner.importers.part import Part, frame_of
from planner.run import Run


def is_study_line(record: Mapping[str, Any]) -> bool:
    """Say whether a record is a line of runs.jsonl."""
    return isinstance(record.get("trial"), Mapping) and "params_matmul" in record


def study_part(
    records: Sequence[Mapping[str, Any]], source: str, dropped: tuple[tuple[str, str], ...] = ()
) -> Part:
    """Read lines of runs.jsonl; range tests are left out, for they have no loss to speak of."""
    runs, cut = [], list(dropped)
    for record in records:
        try:
            run = Run.from_json(record)
        except (KeyError, TypeError, ValueError) as error:
            cut.append((str(record.get("key", source)), f"it is no run of planner: {error!r}"))
            continue
        if run.trial.schedule.name == "finder":
            cut.append((run.key, "it is a range test: its lr rose, so its loss belongs to none"))
        else:
            runs.append(run)
    return Part(source, runs_frame(runs), tuple(cut))


def runs_frame(runs: Sequence[Run]) -> pd.DataFrame:
    """Return one flat row per run with the columns of contracts.md section 5."""
    return frame_of([_row(run) for run in runs])


def _row(run: Run) -> dict[str, Any]:
    row = {k: v for k, v in run.to_json().items() if not isinstance(v, dict | list)}
    shape = {k: v for k, v in run.trial.shape.items() if not isinstance(v, dict | list)}
    told = {"flops_convention": "6N+attn", "final_lr_ratio": run.trial.schedule.final_lr_ratio}
    return dict(run.metrics) | shape | row | told
