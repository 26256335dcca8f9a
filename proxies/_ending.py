"""How a trainer ended, in a sentence, and what of its stderr tells why.

A sweep shows the last line of a note. So the cause stands there: behind what launchers print once a
worker has failed, if they do; and where the trainer itself ended well, our own sentence.
"""

from __future__ import annotations

import re
import signal
from pathlib import Path

TAIL = 400
"""Characters of the trainer's stderr kept in a failed run's note."""

CAUSE = re.compile(
    r"^(?:\[\w+\]:\s*)?((?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?:Error|Exception|Interrupt): .*\w.*)$",
    re.M,
)
LAUNCHER = "ChildFailedError"
"""What torchrun raises about a worker's error."""

PORT_TAKEN = re.compile(r"address already in use|EADDRINUSE", re.IGNORECASE)


def ended(code: int) -> str:
    """Return what an exit code other than 0 says; below 0 it is a signal."""
    if code > 0:
        return f"ended with exit code {code}"
    return f"was killed by signal {-code} ({signal.strsignal(-code)})"


def not_started(program: str, cwd: str | None, error: OSError) -> str:
    """Return why a program could not be run."""
    if cwd and not Path(cwd).is_dir():
        return f"there is no folder {cwd}, which `cwd` names"
    if isinstance(error, FileNotFoundError):
        return f"there is no program `{program}`; the first word of argv names it"
    return f"`{program}` cannot be run: {error.strerror}; the first word of argv names it"


def told_in(log: Path, *, crashed: bool) -> str:
    """Return the end of a trainer's stderr; of one that ``crashed``, its cause on the last line."""
    text = log.read_text(encoding="utf-8").strip() if log.is_file() else ""
    if not text:
        return ""
    tail = text[-TAIL:]
    if not crashed:
        return f"; stderr ends: {' / '.join(line.strip() for line in tail.splitlines())}"
    causes = [cause for cause in CAUSE.findall(text) if LAUNCHER not in cause]
    last = tail.splitlines()[-1]
    cause = f"\n{causes[-1][:TAIL]}" if causes and causes[-1] not in last else ""
    taken = "; write {port} where its port stands" if PORT_TAKEN.search(text) else ""
    return f"; stderr ends: {tail}{cause}{taken}"
