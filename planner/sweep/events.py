"""What passes between the sweep's driver and whatever runs its trials: plain, frozen data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias, runtime_checkable

from planner.proxy import Outcome, ProxySpec
from planner.run import Trial
from planner.sweep.alike import Alike


@dataclass(frozen=True, slots=True)
class Resources:
    """What one trial occupies while it trains: on each of ``nodes``, so many CPUs and GPUs.

    ``gpus`` below 1 is a share of one device; ``memory`` is host memory in bytes a node, 0 where
    nothing is known of it.
    """

    cpus: float = 1
    gpus: float = 0
    nodes: int = 1
    memory: int = 0

    @property
    def devices(self) -> float:
        """Devices that are paid for while it runs; without GPUs each node counts as one."""
        return self.nodes * (self.gpus or 1)

    @property
    def device(self) -> str:
        """The device a trial is told to train on."""
        return "cuda:0" if self.gpus else "cpu"


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt at a trial; ``parent_dir`` is the checkpoint folder of a fork's trunk.

    ``stack`` are the jobs it is trained together with, in one call and as one batched model
    (:mod:`planner.sweep.stacks`); each has events of its own.

    Where workers do not share the driver's disk, ``remote_dir`` and ``remote_parent`` are the URLs
    of what both folders must hold; the worker fetches and stores (:mod:`planner.sweep.remote`).
    ``alike`` is what the study trains of the same shape (:mod:`planner.sweep.alike`).
    """

    key: str
    trial: Trial
    attempt: int
    proxy: ProxySpec
    checkpoint_dir: str
    parent_dir: str | None = None
    device: str = "cpu"
    resources: Resources = Resources()
    remote_dir: str | None = None
    remote_parent: str | None = None
    stack: tuple[Job, ...] = ()
    alike: Alike = ()

    @property
    def members(self) -> tuple[Job, ...]:
        """The jobs of one call, this one first."""
        return (replace(self, stack=()), *self.stack)

    def without(self, key: str) -> Job | None:
        """Return the call without a job that has ended; None when none is left."""
        left = [one for one in self.members if one.key != key]
        return replace(left[0], stack=tuple(left[1:])) if left else None

    def died(self, note: str, tokens: int | None = None, *, counts: bool = True) -> list[Died]:
        """Return the deaths of all its members; with others beside it, none is to blame."""
        counts &= not self.stack
        return [Died(one.key, one.attempt, note, tokens, counts=counts) for one in self.members]

    def unstarted(self) -> list[Died]:
        """Return the deaths of members that were asked to leave before they had begun."""
        return [
            Died(one.key, one.attempt, "asked to leave", one.trial.fork_at, counts=False)
            for one in self.members
        ]

    def holds(self, key: str) -> bool:
        """Say whether a trial is among the members."""
        return any(one.key == key for one in self.members)

    def stopped(self, key: str, note: str) -> list[Died]:
        """Return the deaths where one member had to be stopped for the reason of the note."""
        if not self.stack:
            return self.died(note)
        beside = f"a trial in its stack was stopped: {note}"
        return [replace(one, note=note if one.key == key else beside) for one in self.died(note)]


@dataclass(frozen=True, slots=True)
class Progress:
    """An attempt has come as far as ``tokens`` of its path, at train loss ``loss``.

    ``resumed`` says that it goes on from there: what lies before was an earlier attempt's.
    """

    key: str
    attempt: int
    tokens: int
    loss: float
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt has ended, well or badly; a failure's traceback is the outcome's note.

    ``curve`` has one column per reported name (tokens, train_loss, ...), all of one length, nan
    where a point did not report it. ``seconds`` is wall time, ``host`` the machine's name.
    """

    key: str
    attempt: int
    outcome: Outcome
    curve: Mapping[str, Sequence[float]]
    seconds: float
    device: str
    host: str = ""


@dataclass(frozen=True, slots=True)
class Died:
    """An attempt ended without a result, its process gone or told to stop; ``note`` says how.

    ``tokens`` is how far it came, where that is known. ``counts`` says that the trial itself may be
    the cause; it is False where it was asked to leave, or its whole node went.
    """

    key: str
    attempt: int
    note: str
    tokens: int | None = None
    counts: bool = True


Event: TypeAlias = Progress | Ended | Died


class Executor(Protocol):
    """Runs jobs, at most ``workers`` at once, and tells what becomes of them.

    Each submitted job yields any number of Progress and then exactly one Ended or Died, and so does
    each job of its stack, in any order; a stack takes one worker.
    """

    @property
    def workers(self) -> int:
        """How many jobs run at once; it may change while they do."""
        ...

    def submit(self, job: Job) -> None:
        """Queue a job; returns at once."""
        ...

    def next_event(self, timeout: float | None = None) -> Event | None:
        """Wait for the next event, at most ``timeout`` seconds (then None).

        RuntimeError when no submitted job is left to have one.
        """
        ...

    def cancel(self, key: str, note: str) -> None:
        """Stop a submitted job; unless it ends first, it yields Died with this note. Idempotent."""
        ...

    def preempt(self) -> None:
        """Ask every trial to save its state and leave: unless it ends first, it yields Died.

        Those still queued leave at once. A trial notices at its next report.
        """
        ...

    def close(self) -> None:
        """Stop what still runs and leave no process behind."""
        ...


@runtime_checkable
class ChoosyExecutor(Executor, Protocol):
    """An executor whose workers are too small for some trials."""

    def refuse(self, need: Resources) -> None:
        """Raise UsageError when no worker can hold such a trial; asked before a round starts."""
        ...
