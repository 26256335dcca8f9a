"""What the trackers' words for the end of a run mean for its loss.

Only a run that ended well has a final loss. One that was cut off has a loss that its full length
would have gone below: an upper bound, which is kept as one (censored). A diverged run's loss says
nothing of a run that works, and is dropped.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from planner.arrays import Labels

WORDS = {
    "done": (
        *("done", "finished", "completed", "complete", "success", "succeeded", "successful"),
        *("ok", "ended", "passed"),
    ),
    "running": (
        *("running", "preempting", "pending", "paused", "scheduled", "queued", "started"),
        *("in_progress", "active", "resumed"),
    ),
    "crashed": ("crashed", "crash", "error", "errored", "oom", "out_of_memory", "node_fail"),
    "failed": ("failed", "failure", "fail"),
    "killed": (
        *("killed", "preempted", "cancelled", "canceled", "aborted", "stopped", "interrupted"),
        *("timeout", "timed_out"),
    ),
    "pruned": ("pruned", "early_stopped", "stopped_early"),
    "unfinished": ("unfinished", "incomplete", "truncated"),
    "checkpoint": ("checkpoint", "intermediate"),
    "diverged": ("diverged", "nan", "exploded"),
}
"""Our words, and the trackers' words that mean the same."""
BOUNDS = ("running", "crashed", "failed", "killed", "pruned", "unfinished", "checkpoint")
"""Words of runs whose loss is an upper bound."""
_OURS = {theirs: ours for ours, words in WORDS.items() for theirs in words}


def our_status(column: pd.Series | None, rows: int) -> Labels:
    """Return our word per row (n,): "" where nothing is said, theirs where it is unknown."""
    if column is None:
        return np.full(rows, "", dtype=object)
    words = column.astype(object).where(column.notna(), "").astype(str).str.strip().str.lower()
    words = words.str.replace(r"[\s\-]+", "_", regex=True)
    return words.map(lambda word: _OURS.get(word, word)).to_numpy(dtype=object)
