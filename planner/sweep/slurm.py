"""Trials as jobs of a SLURM cluster, submitted and watched through the library submitit.

A job is a command, ``python -m planner.sweep.slurm FILE``: what it is to train lies in a JSON file,
what it tells comes back as JSON lines in two others, on the file system that SLURM's nodes share
with the driver anyway. submitit's own way would pickle the function and unpickle the result; only
the part of it beneath that is used, so no pickle is ever read from a disk. A job that ends without
its last line (killed, out of time, preempted) is a Died, and the sweep tries again.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import join
from threading import Event as Flag
from typing import Any

from planner._log import encode_line
from planner.errors import UsageError
from planner.proxy import Outcome, ProxySpec
from planner.run import Status, Trial
from planner.sweep.events import Died, Ended, Event, Job, Progress, Resources
from planner.sweep.worker import run_job

LOOK_SECONDS = 0.5
"""How often the files of running jobs are looked at."""

GRACE_SECONDS = 10.0
"""How long after a job's end its last line may take to cross a shared file system."""

LEAVE_SECONDS = 60
"""How long before its time is over a job is told to save its state and leave."""

DEFAULT_MINUTES = 24 * 60


@dataclass(slots=True)
class _Submitted:
    """A job under way: its handle in the library, its files, and how much of them is read."""

    job: Job
    handle: Any
    told: Path
    read: int = 0
    over_since: float | None = None


class SlurmExecutor:
    """Up to ``workers`` jobs at once. ``options`` are sbatch's: partition, time, account, qos ...

    ``folder`` is on a file system all nodes share. ``cluster="local"`` runs the same jobs as
    processes of this machine, for trying things out.
    """

    def __init__(
        self, workers: int, folder: Path, options: Mapping[str, Any], cluster: str = "slurm"
    ) -> None:
        try:
            import submitit
        except ImportError as error:
            raise UsageError(f"{error}: pip install 'scaling-planner[slurm]'") from None
        self.workers = workers
        self._folder = folder.resolve()
        (self._folder / "submitit").mkdir(parents=True, exist_ok=True)
        self._options = dict(options)
        try:
            self._library = submitit.AutoExecutor(self._folder / "submitit", cluster=cluster)
        except RuntimeError as error:
            raise UsageError(f"there is no SLURM here: {error}") from None
        self._cluster = cluster
        self._running: dict[str, _Submitted] = {}
        self._events: deque[Event] = deque()

    def submit(self, job: Job) -> None:
        """Hand a job to SLURM, with the resources its trial asks for; UsageError beyond a node."""
        if job.resources.nodes > 1:
            raise UsageError(
                "the SLURM executor trains a trial on one node; for several start Ray on the "
                "allocation (`planner launch slurm`) and give nodes_per_trial there"
            )
        asked = self._folder / f"{job.key}-{job.attempt}.json"
        told = asked.with_suffix(".told")
        told.unlink(missing_ok=True)
        asked.write_text(encode_line(asdict(job) | {"path": sys.path}))
        self._library.update_parameters(**self._parameters(job))
        command = join([sys.executable, "-m", "planner.sweep.slurm", str(asked)])
        beneath: Any = self._library._executor  # what pickles nothing has no public name
        handle = beneath._submit_command(command)
        self._running[job.key] = _Submitted(job, handle, told)

    def next_event(self, timeout: float | None = None) -> Event | None:
        """Wait for the next event of the jobs in hand, at most ``timeout`` seconds."""
        until = time.monotonic() + (float("inf") if timeout is None else timeout)
        while not self._events:
            if not self._running:
                raise RuntimeError("no job is left to wait for; submit one first")
            for one in list(self._running.values()):
                self._look(one)
            if not self._events and time.monotonic() >= until:
                return None
            if not self._events:
                time.sleep(LOOK_SECONDS)
        return self._events.popleft()

    def cancel(self, key: str, note: str) -> None:
        """Take a job back from SLURM."""
        if (one := self._running.pop(key, None)) is not None:
            one.handle.cancel(check=False)
            self._events.append(Died(key, one.job.attempt, note))

    def preempt(self) -> None:
        """Ask every job to save its state and leave."""
        for one in self._running.values():
            one.told.with_suffix(".leave").touch()

    def close(self) -> None:
        """Take back what still runs, and remove the files of this executor."""
        for one in self._running.values():
            one.handle.cancel(check=False)
        until = time.monotonic() + GRACE_SECONDS
        for one in self._running.values():
            while not one.handle.done() and time.monotonic() < until:
                time.sleep(0.1)
        self._running.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _parameters(self, job: Job) -> dict[str, Any]:
        wants = job.resources
        parameters: dict[str, Any] = {
            "timeout_min": DEFAULT_MINUTES,
            "nodes": wants.nodes,
            "tasks_per_node": 1,
            "cpus_per_task": max(1, round(wants.cpus)),
        }
        if wants.gpus:
            parameters["gpus_per_node"] = max(1, round(wants.gpus))
        if wants.memory:
            parameters["mem_gb"] = wants.memory / 2**30
        if self._cluster == "local":
            return parameters | {"nodes": 1}
        parameters |= {"slurm_signal_delay_s": LEAVE_SECONDS}
        return parameters | {f"slurm_{name}": value for name, value in self._options.items()}

    def _look(self, one: _Submitted) -> None:
        """Read what a job has told since; without a last word from a job that is over, it died."""
        key, attempt = one.job.key, one.job.attempt
        if one.told.exists():
            with one.told.open("rb") as told:
                told.seek(one.read)
                for line in told:
                    if not line.endswith(b"\n"):
                        break
                    one.read += len(line)
                    self._events.append(_event_of(json.loads(line)))
        if any(not isinstance(event, Progress) and event.key == key for event in self._events):
            del self._running[key]
        elif one.handle.done():
            one.over_since = one.over_since or time.monotonic()
            if time.monotonic() - one.over_since > (GRACE_SECONDS if self._is_far else 0):
                del self._running[key]
                note = f"its SLURM job {one.handle.job_id} ended as {one.handle.state}"
                counts = one.handle.state not in ("PREEMPTED", "NODE_FAIL", "TIMEOUT")
                self._events.append(Died(key, attempt, note, counts=counts))

    @property
    def _is_far(self) -> bool:
        return self._cluster != "local"


def _event_of(told: dict[str, Any]) -> Event:
    """Read an event back from a line."""
    kind = told.pop("kind")
    if kind == "Died":
        return Died(**told)
    if kind == "Ended":
        outcome = told["outcome"]
        losses = {name: float(outcome[name]) for name in ("loss", "loss_se")}
        metrics = {name: float(value) for name, value in outcome["metrics"].items()}
        read = {"status": Status(outcome["status"]), "metrics": metrics} | losses
        told["outcome"] = Outcome(**(outcome | read))
        told["curve"] = {name: [float(x) for x in column] for name, column in told["curve"].items()}
        return Ended(**told)
    return Progress(**(told | {"loss": float(told["loss"])}))


def main(asked: Path) -> None:
    """Train the job of a file and tell of it beside it: a SLURM job's whole life."""
    data = json.loads(asked.read_text())
    sys.path[:] = data.pop("path")
    trial, spec = Trial.from_json(data.pop("trial")), ProxySpec(**data.pop("proxy"))
    resources = Resources(**data.pop("resources"))
    data["device"] = resources.device
    job = Job(trial=trial, proxy=spec, resources=resources, **data)
    leave = Flag()
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, lambda *_: leave.set())
    with asked.with_suffix(".told").open("ab") as told:

        def tell(event: Progress | Ended | Died) -> None:
            if asked.with_suffix(".leave").exists():
                leave.set()
            line = encode_line({"kind": type(event).__name__} | asdict(event))
            told.write(line.encode())
            told.flush()

        tell(run_job(job, tell, leave))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
