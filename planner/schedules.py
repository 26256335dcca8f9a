"""What a study's curves say of schedules, fitted once for every state of the ledger.

Forks end one trunk early in several ways, so their curves tell what a cooldown brings; of the runs
of one shape, learning rate and batch those count that follow most schedules, then the dearest. The
fit takes seconds: ``schedule.json`` keeps it under the ledger's hash, and stands for the curves
where a folder was handed on without them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from planner.curve import Curve
from planner.decide.schedule import ScheduleEvidence
from planner.fit.schedule import Trace, distinct, fit_group, traces_of_runs
from planner.fit.schedule.stored import from_plain, to_plain
from planner.run import Run

FILE, SCHEMA_VERSION = "schedule.json", 1


TELLS = re.compile(r"\{(schedule|decay_\w+)\}")
"""What tells a command its trial's schedule."""

UNTOLD = ScheduleEvidence(
    None,
    "the command holds none of {schedule}, {decay_steps}, {decay_tokens} and {decay_ratio}, so its "
    "runs followed the trainer's own schedule",
    own=False,
)
"""What is known where a command is not told."""


def is_told(recipe: Mapping[str, Any]) -> bool:
    """Say whether a study's runs followed the schedules of their trials: a command must be told."""
    words = (*recipe.get("argv", ()), *recipe.get("env", {}).values())
    return recipe.get("proxy") != "command" or any(TELLS.search(str(word)) for word in words)


def schedule_of(
    folder: Path, ledger_hash: str, runs: Sequence[Run], curves: Sequence[Curve]
) -> ScheduleEvidence:
    """Return what a study's curves say of schedules: as saved for this ledger, or fitted now."""
    return _saved(folder / FILE, ledger_hash) or _fitted(runs, curves)


def schedule_file(evidence: ScheduleEvidence, ledger_hash: str) -> dict[str, Any]:
    """Return the content of schedule.json."""
    return {
        "schema_version": SCHEMA_VERSION,
        "ledger_hash": ledger_hash,
        "why_not": evidence.why_not,
        "fit": to_plain(evidence.fit) if evidence.fit else None,
    }


def _saved(file: Path, ledger_hash: str) -> ScheduleEvidence | None:
    """Read what was saved for this ledger; None where nothing sound of this version was."""
    try:
        saved = json.loads(file.read_text())
        if (saved["schema_version"], saved["ledger_hash"]) != (SCHEMA_VERSION, ledger_hash):
            return None
        fit = from_plain(saved["fit"]) if saved["fit"] else None
        return ScheduleEvidence(fit, saved["why_not"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _fitted(runs: Sequence[Run], curves: Sequence[Curve]) -> ScheduleEvidence:
    if not curves:
        return ScheduleEvidence(None, "the folder holds no curves that can be read")
    flops = {run.key: run.flops for run in runs}
    groups = traces_of_runs(runs, curves)

    def worth(group: Sequence[Trace]) -> tuple[int, float]:
        ways = distinct(group) if any(trace.decays for trace in group) else 0
        return ways, max(flops[trace.run] for trace in group)

    best = max(groups.values(), key=worth, default=[])
    if not best or worth(best)[0] < 2:
        reason = "no two runs of one size, learning rate and batch follow different schedules"
        return ScheduleEvidence(None, reason)
    fit, doubts = fit_group({0: best})
    return ScheduleEvidence(fit, "".join(doubt.what for doubt in doubts).rstrip("."))
