"""One child process that never outlives its trial.

The child gets its own process group. The group is killed when the ``with`` block ends for whatever
reason, and by a guard process when the worker itself dies: the guard's standard input is a pipe
from the worker, which the kernel closes even after ``kill -9``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""

GUARD = "import os, sys; sys.stdin.read(); os.killpg(int(sys.argv[1]), 9)"


@contextmanager
def running(argv: Sequence[str], log: Path) -> Iterator[subprocess.Popen[str]]:
    """Run ``argv`` without a shell; stdout is a pipe of text lines, stderr goes to ``log``.

    Raises OSError when the program cannot be started.
    """
    with log.open("wb") as errors:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
    guard = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", GUARD, str(process.pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        with process:
            try:
                yield process
            finally:
                _end(process)
    finally:
        guard.kill()
        guard.communicate()


def _end(process: subprocess.Popen[str]) -> None:
    """End the whole group: ask first, then kill."""
    if process.poll() is None:
        _signal(process, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
    _signal(process, signal.SIGKILL)


def _signal(process: subprocess.Popen[str], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
