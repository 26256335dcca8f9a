"""What to run (Trial, with its key) and what happened (Run)."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

from planner.shape import Size

UNIQUE = "unique"
"""The key of a shape that bounds how many different tokens (images) its run may see."""


class Status(StrEnum):
    """How a trial ended. Only ``DONE`` losses are values; the others are bounds (censored)."""

    DONE = "done"
    DIVERGED = "diverged"
    PRUNED = "pruned"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Schedule:
    """Learning rate over a run: linear warmup, then ``name``.

    ``constant`` | ``linear`` (to final_lr_ratio) | ``cosine`` | ``wsd`` (constant, then a 1-sqrt
    cooldown over the last ``decay_ratio`` of the tokens) | ``finder`` (lr rises geometrically from
    ``lr * final_lr_ratio`` to ``lr``; no warmup).
    """

    name: str = "wsd"
    decay_ratio: float = 0.2
    final_lr_ratio: float = 0.0


@dataclass(frozen=True, slots=True)
class Trial:
    """One training run to be made, as plain data.

    ``tokens`` is the whole path from step 0. A fork names the key of its ``parent`` (a trunk with
    schedule ``constant``) and starts from the trunk's state at ``fork_at`` tokens; a trunk lists in
    ``keep_at`` the tokens at which it must leave a checkpoint. ``stage`` says which question asked
    for the run; it is not part of the key, so two stages can share one run.
    """

    stage: str
    shape: Mapping[str, Any]
    tokens: int
    batch_tokens: int
    lr: float
    warmup_tokens: int
    schedule: Schedule = field(default_factory=Schedule)
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.95
    clip: float = 1.0
    seed: int = 0
    parent: str | None = None
    fork_at: int = 0
    keep_at: tuple[int, ...] = ()

    @property
    def steps(self) -> int:
        """Optimizer steps from step 0."""
        return self.tokens // self.batch_tokens

    @property
    def new_tokens(self) -> int:
        """Tokens this trial itself must train: a fork pays for its branch only."""
        return self.tokens - self.fork_at

    def key(self, recipe: Mapping[str, Any]) -> str:
        """Hash the trial (but for its stage) and the recipe it is trained under."""
        content = self.to_json()
        del content["stage"]
        return content_hash({"trial": content, "recipe": recipe})

    def to_json(self) -> dict[str, Any]:
        """Return the trial as plain data."""
        content = {name: getattr(self, name) for name in TRIAL_FIELDS}
        content |= {"shape": dict(self.shape), "keep_at": list(self.keep_at)}
        content["schedule"] = {
            name: getattr(self.schedule, name) for name in Schedule.__dataclass_fields__
        }
        return content

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Trial:
        """Read a trial back from plain data. Raises ValueError where it cannot be one."""
        check_types(data, _TRIAL)
        values = {name: data[name] for name in TRIAL_FIELDS if name in data}
        values["schedule"] = Schedule(**values["schedule"])
        values["keep_at"] = tuple(values["keep_at"])
        trial = cls(**values)
        if trial.lr <= 0 or not 0 <= trial.fork_at < trial.tokens or trial.batch_tokens < 1:
            raise ValueError("its lr, tokens, batch_tokens or fork_at is out of range")
        return trial


TRIAL_FIELDS = tuple(f.name for f in fields(Trial))


@dataclass(frozen=True, slots=True)
class Run:
    """A trial that has ended.

    ``loss`` is nats per token on the frozen evaluation set after decay (nan when there is none),
    ``loss_se`` the standard error that evaluation set leaves. ``flops`` counts the whole path (the
    law's C), ``spent_flops`` what this run and its failed attempts cost. ``metrics`` holds
    what else was measured; ``host`` is the machine that trained it.
    """

    trial: Trial
    key: str
    status: Status
    loss: float
    loss_se: float
    size: Size
    tokens: int
    spent_flops: float
    seconds: float = 0.0
    device: str = ""
    host: str = ""
    note: str = ""
    attempt: int = 1
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def flops(self) -> float:
        """C of the run: the whole path from step 0."""
        return self.size.flops(self.tokens)

    @property
    def done(self) -> bool:
        """Say whether the loss is a value."""
        return self.status is Status.DONE

    def to_json(self) -> dict[str, Any]:
        """Return the run as plain data, one line of runs.jsonl."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        flat = asdict(self.size) | {"flops": self.flops, "metrics": dict(self.metrics)}
        flat |= {"status": self.status.value, "trial": self.trial.to_json()}
        shared = (
            "stage",
            "lr",
            "batch_tokens",
            "warmup_tokens",
            "weight_decay",
            "beta2",
            "seed",
            "parent",
        )
        flat |= {name: getattr(self.trial, name) for name in shared}
        flat |= {
            "schedule": self.trial.schedule.name,
            "decay_ratio": self.trial.schedule.decay_ratio,
        }
        return {name: value for name, value in own.items() if name != "size"} | flat

    @classmethod
    def from_json(cls, data: Mapping[str, Any], trial: Trial | None = None) -> Run:
        """Read a run back from a line of runs.jsonl; ``trial`` is its trial if known already.

        Raises ValueError where it cannot be one.
        """
        check_types(data, _RUN)
        values = {name: data[name] for name in RUN_FIELDS if name in data}
        values["trial"] = trial or Trial.from_json(data["trial"])
        values["status"] = Status(data["status"])
        values["size"] = Size(*(float(data[name]) for name in SIZE_FIELDS))
        values |= {name: float(values[name]) for name in ("loss", "loss_se", "spent_flops")}
        values["metrics"] = {
            sys.intern(name): float(value) for name, value in data.get("metrics", {}).items()
        }
        if not 0 <= values["spent_flops"] < math.inf or values["tokens"] < 0:
            raise ValueError("its tokens or spent_flops is out of range")
        return cls(**values)


RUN_FIELDS = tuple(f.name for f in fields(Run))
SIZE_FIELDS = tuple(f.name for f in fields(Size))


@dataclass(frozen=True, slots=True)
class Round:
    """Trials proposed together from the set of everything that ended before.

    ``why`` is the sentence the progress line and the report show.
    """

    number: int
    stage: str
    trials: tuple[Trial, ...]
    why: str

    def to_json(self) -> dict[str, Any]:
        """Return the round as plain data."""
        return asdict(self) | {"trials": [trial.to_json() for trial in self.trials]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Round:
        """Read a round back from plain data. Raises ValueError where it cannot be one."""
        check_types(data, {"number": int, "stage": str, "trials": list, "why": str})
        trials = tuple(Trial.from_json(trial) for trial in data["trials"])
        return cls(data["number"], data["stage"], trials, data["why"])


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=str)
_TRIAL: Mapping[str, type] = {
    **dict.fromkeys(("tokens", "batch_tokens", "warmup_tokens", "seed", "fork_at"), int),
    **dict.fromkeys(("lr", "weight_decay", "beta1", "beta2", "clip"), float),
    **{"stage": str, "shape": dict, "schedule": dict, "keep_at": list},
}
_RUN: Mapping[str, type] = {
    **{"key": str, "tokens": int, "attempt": int, "note": str, "device": str, "metrics": dict},
    "seconds": float,
}
"""What stands in a file must have these types, where it is given: JSON promises none."""

LARGEST = 2**63
"""Counts of a file lie below it: what is larger was never counted."""


def check_types(data: Mapping[str, Any], types: Mapping[str, type]) -> None:
    """Raise ValueError where a value of ``data`` is of another type; a float may be an int."""
    for name, kind in types.items():
        value = data.get(name, kind())
        found = type(value)
        if found is not kind and not (kind is float and found is int):
            raise ValueError(f"`{name}` is {value!r:.60}, no {kind.__name__}")
        if (found is int and abs(value) >= LARGEST) or (
            found is float and not math.isfinite(value)
        ):
            raise ValueError(f"`{name}` is out of range")


def content_hash(data: object) -> str:
    """Hash plain data: 16 hex digits of SHA-256 over its canonical JSON."""
    return hashlib.sha256(canonical(data).encode()).hexdigest()[:16]


def canonical(data: object) -> str:
    """Return plain data as the one JSON text that is hashed: keys in order, no space."""
    return _CANONICAL.encode(data)
