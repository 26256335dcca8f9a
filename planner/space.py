"""The search space: what a study may try, and what it may cost (contracts.md section 3).

A YAML mapping becomes one frozen :class:`SearchSpace`; all but ``sizes`` and ``budget.flops`` have
defaults. Counts may be written 300M or 2e13. Wrong keys and values are refused together, each with
file, line, key path and, for an unknown key, the nearest known one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    Field,
    ValidationError,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)

from planner._secrets import hide_data
from planner._space_errors import sentence
from planner._yaml import apply_overrides, read_yaml, write_yaml
from planner.errors import SpaceError, UsageError
from planner.means import Budget, Count, ExecutorChoice, Part, Target, Tokens, reader
from planner.units import parse_count, parse_multiple

MOST_POINTS = 1_000
"""Of a grid: more are a slip of the pen."""


class ProxyChoice(Part):
    """Which proxy stands in for the real model, and its options (the proxy checks them)."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class Axis(Part):
    """A geometric grid: low, low * factor, ... up to high.

    Written ``{log: [low, high], factor: f}`` or, as W&B sweeps spell it, ``{distribution:
    log_uniform_values, min: low, max: high}``.
    """

    spelled: ClassVar[tuple[str, ...]] = ("log", "factor", "distribution", "min", "max")

    low: Count
    high: Count
    factor: Annotated[float, Field(gt=1)] = 2.0

    def values(self) -> tuple[float, ...]:
        """Return the points of the grid, rising; the last one is at most ``high``."""
        count = math.floor(math.log(self.high / self.low) / math.log(self.factor) + 1e-9) + 1
        return tuple(self.low * self.factor**i for i in range(count))

    @model_validator(mode="before")
    @classmethod
    def _spelling(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        data = dict(data)
        if "distribution" in data:
            if (name := data.pop("distribution")) != "log_uniform_values":
                raise ValueError(f"has distribution {name!r}; only log_uniform_values is supported")
            data["log"] = [data.pop("min", None), data.pop("max", None)]
        if "log" in data:
            ends = data.pop("log")
            if not isinstance(ends, list) or len(ends) != 2 or None in ends:
                raise ValueError("needs a lowest and a highest value, such as log: [0.001, 0.064]")
            data["low"], data["high"] = ends
        return data

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.low > self.high:
            low, high = f"{self.low:g}", f"{self.high:g}"
            raise ValueError(f"is reversed: {low} is above {high}; write [{high}, {low}]")
        if self.low == self.high:
            raise ValueError(f"is empty: it begins and ends at {self.low:g}; give it a range")
        if math.isinf(self.high / self.low):
            raise ValueError(f"reaches too far: from {self.low:g} to {self.high:g}")
        if math.log(self.high / self.low) > MOST_POINTS * math.log(self.factor):
            raise ValueError(f"has more than {MOST_POINTS} points; take a larger factor")
        return self

    @model_serializer
    def _as_written(self) -> dict[str, Any]:
        return {"log": [self.low, self.high], "factor": self.factor}


class BatchAxis(Axis):
    """The batch grid, tokens per step; its minimum is flat, so it is coarser."""

    factor: Annotated[float, Field(gt=1)] = 4.0


class Horizons(Part):
    """Tokens per run of the ladder, rising; with ``forks`` one trunk serves several of them.

    ``unique`` lists smaller data sets (distinct tokens or images) the ladder is trained on as well.
    """

    tokens_per_run: Annotated[tuple[Tokens, ...], Field(min_length=1)] = (
        1_000_000,
        2_000_000,
        4_000_000,
    )
    forks: bool = True
    unique: tuple[Tokens, ...] = ()

    @field_validator("tokens_per_run", "unique")
    @classmethod
    def _rising(cls, tokens: tuple[int, ...]) -> tuple[int, ...]:
        if any(b <= a for a, b in pairwise(tokens)):
            raise ValueError(f"must rise from one to the next; got {list(tokens)}")
        return tokens


class HeldOut(Part):
    """The held-out rung: ``sizes`` sizes at one C of ``compute`` times the ladder's largest."""

    compute: Annotated[float, Field(ge=2), reader(parse_multiple)] = 2.0
    sizes: Annotated[int, Field(ge=1, le=MOST_POINTS)] = 3


class Stages(Part):
    """Which questions the sweep asks; ``confirm: design`` buys what saves most regret instead."""

    finder: bool = True
    seeds: Annotated[int, Field(ge=0, le=MOST_POINTS)] = 3
    lr_batch: bool = True
    confirm: bool | Literal["design"] = False
    warmup: bool = True
    weight_decay: bool = False
    ladder: bool = True
    held_out: HeldOut | None = HeldOut()

    @field_validator("held_out", mode="before")
    @classmethod
    def _switch(cls, value: object) -> object:
        if value in (False, "off", "no", "false"):
            return None
        return {} if value in (True, "on", "yes", "true") else value


class SearchSpace(Part):
    """A whole study as its YAML describes it.

    ``checkpoints`` is an fsspec URL for the states of trials, for workers that share no disk.
    """

    study: Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
    seed: Annotated[int, Field(ge=0, lt=2**62)] = 0
    proxy: ProxyChoice = ProxyChoice(name="gpt")
    data: dict[str, Any] = Field(default_factory=dict)
    shapes: tuple[dict[str, Any], ...] = Field(alias="sizes", min_length=1)
    lr: Axis = Axis(low=1e-3, high=6.4e-2)
    batch_tokens: BatchAxis = BatchAxis(low=256, high=4096)
    horizons: Horizons = Horizons()
    stages: Stages = Stages()
    budget: Budget
    planned: Target | None = Field(None, alias="target")
    mirrors: dict[Literal["mlflow", "optuna", "tensorboard", "wandb"], str | None] = Field(
        default_factory=dict
    )
    executor: ExecutorChoice = Field(default_factory=ExecutorChoice)
    checkpoints: str | None = None

    @property
    def target(self) -> dict[str, Any]:
        """What the report plans for, as given; empty when the YAML names no target."""
        return self.planned.model_dump(exclude_none=True) if self.planned else {}

    @property
    def price(self) -> float | None:
        """Dollars per device hour of the sweep; None where nobody stated them."""
        return self.budget.price or self.target.get("price")

    @field_validator("shapes", mode="before")
    @classmethod
    def _spread(cls, sizes: object) -> object:
        shapes = list(_spread_sizes(sizes)) if isinstance(sizes, dict) else sizes
        if isinstance(shapes, list) and all(isinstance(shape, dict) for shape in shapes):
            shapes = [_read_shape(shape) for shape in shapes]
            if twice := next((s for i, s in enumerate(shapes) if s in shapes[:i]), None):
                raise ValueError(f"lists {twice} twice; every size may appear once")
            return shapes
        raise ValueError("must be a mapping such as {width: [16, 24], depth: 2}, or a list of them")

    @field_serializer("planned")
    def _planned(self, planned: Target | None) -> dict[str, Any] | None:
        return self.target if planned else None


def load_space(path: str | Path, overrides: Sequence[str] = ()) -> SearchSpace:
    """Read a search space; ``overrides`` are ``dotted.path=value`` of ``--set``.

    ``study`` defaults to the name of the file. Raises SpaceError with one sentence per problem.
    """
    data, places = read_yaml(Path(path))
    apply_overrides(data, places, overrides)
    try:
        return SearchSpace.model_validate({"study": Path(path).stem} | data)
    except ValidationError as error:
        problems = [sentence(problem, places, SearchSpace) for problem in error.errors()]
        raise SpaceError("\n".join(problems)) from None


def dump_space(space: SearchSpace) -> str:
    """Write a space, without its secrets, as YAML that :func:`load_space` reads back."""
    return write_yaml(hide_data(space.model_dump(by_alias=True)))


def _spread_sizes(sizes: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Turn lists per key into one mapping per size; single values hold for every size."""
    lengths = {key: len(value) for key, value in sizes.items() if isinstance(value, list)}
    if len(set(lengths.values())) > 1:
        counts = " and ".join(f"{count} of `{key}`" for key, count in lengths.items())
        raise ValueError(f"lists {counts}; lists must be of equal length, one entry per size")
    for index in range(next(iter(lengths.values()), 1)):
        yield {key: value[index] if key in lengths else value for key, value in sizes.items()}


def _read_shape(shape: dict[str, Any]) -> dict[str, Any]:
    return {key: _read_entry(key, value) for key, value in shape.items()}


def _read_entry(key: str, value: object) -> object:
    """Read a count of a shape; words that are no count belong to the proxy and pass as they are."""
    if isinstance(value, str):
        try:
            value = parse_count(value)
        except UsageError:
            return value
        value = int(value) if value.is_integer() else value
    if isinstance(value, int | float) and not isinstance(value, bool) and not value > 0:
        raise ValueError(f"has `{key}: {value}`; it must be positive")
    return value
