"""A worker that trains by the command proxy and is killed; what then lives of its trainer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

WORKER = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
from planner.proxies.command import CommandProxy
from planner.run import Trial
calls = dict(report=lambda **k: None, heed=lambda: None)
ctx = SimpleNamespace(checkpoint_dir=Path(sys.argv[1]), device="cpu", **calls)
trial = Trial("x", {"params": 2e4}, 4000, 100, 0.01, 200)
CommandProxy({}, argv=json.loads(sys.argv[2])).train(trial, ctx)
"""


def killed_worker(argv: Sequence[str], folder: Path) -> int:
    """Run a trainer that writes ``out/pid``, kill its worker; return the process it named."""
    command = [sys.executable, "-c", WORKER, str(folder), json.dumps(argv)]
    with subprocess.Popen(command) as process:
        pid = int(wait_for(lambda: (folder / "out/pid").read_text()))
        process.send_signal(signal.SIGKILL)
    return pid


def alive(pid: int) -> bool:
    """Say whether a process runs; a zombie nobody has reaped yet does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_for(ask: Callable[[], Any]) -> Any:
    """Return what ``ask`` answers once it does."""
    for _ in range(300):
        try:
            if answer := ask():
                return answer
        except FileNotFoundError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"nothing after 15 s in process {os.getpid()}")
