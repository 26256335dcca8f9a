"""Nodes of a real Ray cluster on this machine, each its own process group, started and killed."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATIENCE = 90.0

# A token of our own: Ray then neither looks for one in the home folder nor leaves one there.
SETTINGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(16),
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONPATH": str(ROOT),
}


class Node:
    """A node with some CPUs; ``address`` joins it to a cluster, without it a new one begins."""

    def __init__(
        self, folder: Path, cpus: int, address: str | None = None, port: int | None = None
    ) -> None:
        self.port = port or _free_port()
        self.address = address or f"127.0.0.1:{self.port}"
        ports = ["--head", "--port", str(self.port), "--include-dashboard", "false"]
        if find_spec("grpc"):  # else Ray has no client server, and refuses to name its port
            ports += ["--ray-client-server-port", str(_free_port())]
        if address:
            ports = ["--address", address]
        self.log = folder / f"node-{secrets.token_hex(4)}.log"
        command = [str(Path(sys.executable).with_name("ray")), "start", "--block", *ports]
        command += ["--num-cpus", str(cpus), "--object-store-memory", str(80 << 20)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command,
                env=os.environ | SETTINGS,
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self) -> Node:
        """Wait until it serves."""
        give_up = time.monotonic() + PATIENCE
        while "Ray runtime started" not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()[-2000:]
            assert time.monotonic() < give_up, "the node never started"
            time.sleep(0.1)
        return self

    def kill(self) -> None:
        """Kill it and its workers at once, as a power cut would."""
        workers = descendants(self.process.pid)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for worker in workers:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        self.process.wait()

    def raylet(self) -> int:
        """Return the process that starts its workers; 0 while there is none yet."""
        listing = subprocess.run(
            ["ps", "-o", "pid=,args=", "-g", str(self.process.pid)], capture_output=True, text=True
        ).stdout
        found = [line.split()[0] for line in listing.splitlines() if "raylet/raylet" in line]
        return int(found[0]) if found else 0


def descendants(pid: int) -> list[int]:
    """Return every process that a process has started, and those they have."""
    listing = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True).stdout
    parents = {int(child): int(parent) for child, parent in map(str.split, listing.splitlines())}
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("", 0))
        return int(one.getsockname()[1])
