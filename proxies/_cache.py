"""Where this machine keeps what it prepared once and every study may use again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return PLANNER_CACHE, or ``scaling-planner`` in the user's cache folder."""
    if chosen := os.environ.get("PLANNER_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scaling-planner"
