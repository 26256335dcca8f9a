"""One command that never outlives its trial, and the lines it prints.

The command gets its own session, and a mark in its environment that whatever it starts inherits:
torchrun and others put their workers into sessions of their own, where no signal to the group
reaches them. When the ``with`` block ends, for whatever reason, all of them are ended; a guard does
so when the worker itself dies: the guard's standard input is a pipe from the worker, which the
kernel closes even after ``kill -9``.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

LOOK_SECONDS = 0.1
"""How often a command that prints nothing is looked at."""

GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL."""

LEAVE_GRACE = 12.0
"""The same for a command that may save its state first; a sweep that leaves waits 20 s in all."""

LONGEST = 1 << 20
"""Bytes of a line: longer ones are no reports, and are passed over."""

CHUNK = 1 << 16
"""Bytes read at once."""

LAST_CHUNKS = 256
"""Read after the command has ended: a process it left behind may print for ever."""

MARK = "PLANNER_TRIAL"

GUARD = """read -r _
kill -9 -- "-$1"
for place in $(grep -lsaF -- "$2" /proc/[0-9]*/environ); do
    place=${place%/environ}; kill -9 "${place#/proc/}"
done"""
"""A shell starts in a millisecond; Python would take twenty from every trial."""


@dataclass
class Child:
    """A command under way; with ``leaving`` its end gives it the time to save its state."""

    process: subprocess.Popen[bytes]
    mark: bytes
    leaving: bool = False

    def lines(self) -> Iterator[list[bytes]]:
        """Yield the lines that came, maybe none, every LOOK_SECONDS until the command has ended.

        A last line without an end counts as one. Processes it leaves behind are not waited for.
        """
        rest, chunks = b"", LAST_CHUNKS
        while chunks:
            ended = self.process.poll() is not None
            chunk = self._read(0.0 if ended else LOOK_SECONDS)
            chunks -= ended
            if ended and not chunk:
                break
            *whole, rest = (rest + chunk).split(b"\n")
            if len(rest) > LONGEST:  # what is left of it after this is no JSON either
                rest = b""
            yield [line for line in whole if len(line) <= LONGEST]
        yield [rest]

    def _read(self, seconds: float) -> bytes:
        """Return what was printed; b"" when nothing came, or nothing will come any more."""
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            return b""
        if not (chunk := os.read(self.process.stdout.fileno(), CHUNK)) and seconds:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
        return chunk

    def end(self) -> None:
        """End the command and all it started: ask first, then kill."""
        if self.process.poll() is None:
            until = time.monotonic() + (LEAVE_GRACE if self.leaving else GRACE)
            self._signal(signal.SIGTERM)
            while self._running() and time.monotonic() < until:
                self._read(0.02)  # who saves its state may print; a full pipe would stop it
        self._signal(signal.SIGKILL)
        for pid in _marked(self.mark):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def _running(self) -> bool:
        """Say whether the command or one of its group is there; a launcher may go first."""
        if self.process.poll() is None:
            return True
        try:
            os.killpg(self.process.pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


@contextmanager
def running(
    argv: Sequence[str], log: Path, *, env: Mapping[str, str], cwd: str | None
) -> Iterator[Child]:
    """Run ``argv``; its stdout is read by the child's ``lines``, stderr goes to ``log``.

    Raises OSError when it cannot be started.
    """
    mark = f"{MARK}={uuid.uuid4().hex}"
    name, _, value = mark.partition("=")
    with log.open("wb") as errors:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**env, name: value},
            cwd=cwd,
            start_new_session=True,
        )
    child = Child(process, mark.encode())
    guard = _guard(process.pid, mark)
    try:
        with process:
            try:
                yield child
            finally:
                child.end()
    finally:
        guard.kill()
        guard.communicate()


def _guard(pid: int, mark: str) -> subprocess.Popen[bytes]:
    """Start the process that ends the command when this one is gone."""
    return subprocess.Popen(
        ["/bin/sh", "-c", GUARD, "guard", str(pid), mark],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _marked(mark: bytes) -> Iterator[int]:
    """Yield the processes that inherited the mark; where there is no /proc, none."""
    with suppress(OSError):
        for name in os.listdir("/proc"):
            if name.isdecimal() and mark in _environment(f"/proc/{name}/environ"):
                yield int(name)


def _environment(place: str) -> bytes:
    try:
        stream: IO[bytes]
        with open(place, "rb", buffering=0) as stream:
            return stream.read()
    except OSError:
        return b""
