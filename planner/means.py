"""What a study may spend, what it plans for, where its trials run: parts of the search space."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from planner.errors import UsageError
from planner.units import parse_count, parse_duration, parse_gpu_hours, parse_money


def reader(parse: Callable[[str | float], float]) -> BeforeValidator:
    """Make a parser of :mod:`planner.units` usable on a field."""

    def read(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError("must be a number")
        try:
            return parse(value)
        except UsageError as error:
            raise ValueError(str(error)) from None

    return BeforeValidator(read)


Count = Annotated[float, Field(gt=0), reader(parse_count)]
Tokens = Annotated[int, Field(gt=0), reader(parse_count)]


class Part(BaseModel):
    """A mapping of the YAML: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Budget(Part):
    """What the sweep may cost: FLOPs steer, the others only stop it; ``price`` is usd an hour."""

    flops: Count
    gpu_hours: Annotated[float, Field(gt=0), reader(parse_gpu_hours)] | None = None
    usd: Annotated[float, Field(gt=0), reader(parse_money)] | None = None
    wall: Annotated[float, Field(gt=0), reader(parse_duration)] | None = None
    price: Annotated[float, Field(gt=0), reader(parse_money)] | None = None


class Target(Part):
    """What the report plans for: FLOPs, or devices for a time, or money for a device.

    What it says of its tokenizer, vocab, context, data or parametrization is held against the
    proxies' own; a difference becomes a finding.
    """

    flops: Count | None = None
    gpus: Annotated[int, Field(gt=0)] | None = None
    gpu: str | None = None
    days: Annotated[float, Field(gt=0)] | None = None
    mfu: Annotated[float, Field(gt=0, le=1)] | None = None
    usd: Annotated[float, Field(gt=0), reader(parse_money)] | None = None
    price: Annotated[float, Field(gt=0), reader(parse_money)] | None = None

    tokenizer: str | None = None
    vocab: Annotated[int, Field(gt=0)] | None = None
    context: Annotated[int, Field(gt=0)] | None = None
    data: str | None = None
    parametrization: str | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        facts = {"tokenizer", "vocab", "context", "data", "parametrization"}
        given = self.model_fields_set - facts
        kinds: tuple[tuple[set[str], set[str]], ...] = (
            ({"flops"}, set()),
            ({"gpus", "gpu", "days"}, {"mfu", "price"}),
            ({"usd", "gpu"}, {"price", "mfu"}),
        )
        if not any(needed <= given <= needed | optional for needed, optional in kinds):
            raise ValueError(
                f"with {', '.join(sorted(given)) or 'nothing'} says too little or too much; write "
                "{flops} or {gpus, gpu, days, mfu} or {usd, gpu, price}"
            )
        return self


class ExecutorChoice(Part):
    """Where trials run, and what each may use; the plan does not depend on it.

    ``workers`` trials at once: by default one per core of this machine, or per GPU where it has
    some; on Ray as many as there is room for. ``cpus_per_trial`` and ``gpus_per_trial`` (a share of
    one device below 1; 0: the CPU; by default a GPU where trials run on this machine and it has
    one) hold on each of ``nodes_per_trial`` nodes. ``address`` of a Ray cluster (``auto`` or
    host:port); without one Ray is started on this machine. It stays out of the study folder.
    ``slurm`` holds what sbatch is told besides: partition, time, account, qos, constraint ... A
    trial silent for ``hang_minutes`` is stopped and tried again; without it, runs like it say.
    """

    name: Literal["inline", "local", "ray", "slurm"] = "local"
    workers: Annotated[int, Field(ge=1)] | None = None
    address: Annotated[str | None, Field(exclude=True)] = None
    cpus_per_trial: Annotated[float, Field(gt=0)] = 1
    gpus_per_trial: Annotated[float, Field(ge=0)] | None = None
    nodes_per_trial: Annotated[int, Field(ge=1)] = 1
    hang_minutes: Annotated[float, Field(gt=0)] | None = None
    slurm: dict[str, str | int | float] = {}

    @property
    def processes(self) -> int:
        """Trials at once on this machine."""
        return self.workers or os.cpu_count() or 1

    @property
    def gpus(self) -> float:
        """GPUs a trial takes on each node."""
        return self.gpus_per_trial or 0

    @model_validator(mode="after")
    def _of_a_cluster(self) -> Self:
        able = {"ray": (), "slurm": ("address",), "local": ("address", "nodes_per_trial")}
        others = able.get(self.name, ("address", "gpus_per_trial", "nodes_per_trial"))
        mine = [name for name in others if getattr(self, name) not in (None, 0, 1)]
        if mine:
            raise ValueError(f"is {self.name}; {', '.join(mine)} are for --executor ray")
        if self.gpus > 1 and self.gpus % 1:
            raise ValueError(
                f"asks for {self.gpus:g} GPUs per trial; above 1 they are whole devices"
            )
        return self
