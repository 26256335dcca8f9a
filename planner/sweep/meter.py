"""What a trial takes of the machine it runs on, for people to look at: nothing here steers.

tokens_per_second  = tokens this attempt trained / its wall time, set-up and evaluation included
cpu_utilisation    = CPU seconds of the process and of the programs it waited for / wall time
peak_memory_bytes  = most memory resident in the process, or in the largest such program
"""

from __future__ import annotations

import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

RESET_PEAK = "5"
"""Linux: written to clear_refs, it lets the peak begin anew; a worker trains many trials."""

MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024
"""The unit of getrusage's peak."""


class Meter:
    """Measures from its making to ``metrics``."""

    def __init__(self) -> None:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text(RESET_PEAK)
        self._began, self._cpu = time.monotonic(), _cpu_seconds()

    @property
    def seconds(self) -> float:
        """Wall time so far."""
        return time.monotonic() - self._began

    def metrics(self, tokens: int) -> dict[str, float]:
        """Return the figures of a trial that trained ``tokens``."""
        seconds = max(self.seconds, 1e-9)
        who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        peak = max(resource.getrusage(one).ru_maxrss for one in who)
        return {
            "tokens_per_second": tokens / seconds,
            "cpu_utilisation": (_cpu_seconds() - self._cpu) / seconds,
            "peak_memory_bytes": float(peak * MAXRSS_BYTES),
        }


def _cpu_seconds() -> float:
    usage = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in usage)
