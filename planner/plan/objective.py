"""What the run may take: FLOPs, devices x days, money, or a given size; and what else limits it.

    C = FLOPs                                     --flops
    C = GPUs x days x peak x MFU                  --gpus --gpu --days
    C = USD / price x peak x MFU                  --usd --gpu
    C = F(N) D                                    --params --tokens

MFU and price default to the packaged bands and are then marked assumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from planner.decide.allocate import Caps
from planner.errors import UsageError
from planner.estimate import Estimate
from planner.plan.cost import Machine
from planner.plan.hardware import Device, device
from planner.plan.throughput import mfu_of
from planner.units import parse_count, parse_duration, parse_money

FACTS = ("tokenizer", "vocab", "context", "data", "parametrization")
"""What a target may say of itself beside its budget; compared with the proxies' own."""

WAYS = "--flops C, or --gpus n --gpu NAME --days t, or --usd x --gpu NAME, or --params N --tokens D"


@dataclass(frozen=True, slots=True)
class Options:
    """The options of ``planner plan`` and the keys of ``target:`` in a search space, as numbers."""

    flops: float | None = None
    gpus: float | None = None
    gpu: str | None = None
    days: float | None = None
    usd: float | None = None
    params: float | None = None
    tokens: float | None = None
    price: float | None = None
    mfu: float | None = None
    inference_tokens: float | None = None
    unique_tokens: float | None = None
    max_params: float | None = None
    max_tokens: float | None = None

    def given(self) -> dict[str, Any]:
        """Return what was stated."""
        stated = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in stated.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Objective:
    """A resolved budget. ``flops`` is None for a given size; ``stated`` is what the user said."""

    kind: str
    stated: Mapping[str, Any]
    flops: float | None
    machine: Machine | None
    caps: Caps
    inference_tokens: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def given_size(self) -> tuple[float, float]:
        """The (params, tokens) of an objective that names them."""
        return self.stated["params"], self.stated["tokens"]

    def to_json(self) -> dict[str, Any]:
        """Return the objective as plain data, units in the names."""
        units = {"price": "price_usd_per_gpu_hour", "usd": "budget_usd"}
        stated = {units.get(name, name): value for name, value in self.stated.items()}
        return {"kind": self.kind, **stated, "target_flops": self.flops, **self.facts}


def objective_from_options(options: Mapping[str, Any]) -> Objective:
    """Resolve options (numbers, or texts such as ``7B``, ``14d``, ``$20k``) and FACTS.

    Raises UsageError for an unknown name, a number that is none, and combinations that name no
    budget, two budgets, or half of one.
    """
    facts = {name: value for name, value in options.items() if name in FACTS}
    read = Options(**_read({n: value for n, value in options.items() if n not in facts}))
    kind = _kind(read)
    machine = _machine(read)
    return Objective(
        kind=kind,
        stated=read.given(),
        flops=_flops(kind, read, machine),
        machine=machine,
        caps=Caps(read.max_params, read.max_tokens, read.unique_tokens),
        inference_tokens=read.inference_tokens or 0.0,
        facts=facts,
    )


def _read(options: Mapping[str, Any]) -> dict[str, Any]:
    known = [f.name for f in fields(Options)]
    if unknown := [name for name in options if name not in known]:
        raise UsageError(f"a plan knows no {', '.join(unknown)}; it knows {', '.join(known)}")
    return {name: _value(name, value) for name, value in options.items() if value is not None}


def _value(name: str, value: float | str) -> float | str:
    if name == "gpu":
        return str(value)
    if name == "days":
        number = _days(value)
    elif name in ("usd", "price"):
        number = parse_money(value)
    else:
        number = parse_count(value)
    if number <= 0:
        raise UsageError(f"--{name.replace('_', '-')} {value} must be more than zero")
    return number


def _days(value: float | str) -> float:
    try:
        return float(value)
    except ValueError:
        return parse_duration(value) / 86400.0


def _kind(read: Options) -> str:
    """Say which of the four budgets is meant, or why it is none."""
    given = read.given()
    budgets = [name for name in ("flops", "days", "usd", "params") if name in given]
    if len(budgets) > 1:
        named = " and ".join(f"--{name}" for name in budgets)
        raise UsageError(f"{named} are {len(budgets)} budgets; a plan has one: {WAYS}")
    if "tokens" in given and "params" not in given:
        raise UsageError(
            "--tokens needs --params, which says what is trained on them; to limit the tokens of a "
            "plan that chooses its size, use max_tokens or --unique-tokens"
        )
    if not budgets:
        hint = "; --gpus also needs --days" if "gpus" in given else ""
        raise UsageError(f"no budget was given: {WAYS}{hint}")
    needed = {"days": ("gpus", "gpu"), "usd": ("gpu",), "params": ("tokens",), "flops": ()}
    if missing := [name for name in needed[budgets[0]] if name not in given]:
        wanted = " and ".join(f"--{name}" for name in missing)
        raise UsageError(f"--{budgets[0]} alone is no budget: it needs {wanted}; {WAYS}")
    if budgets == ["params"] and (fixed := given.keys() & {"max_params", "max_tokens"}):
        named = " and ".join(f"--{name.replace('_', '-')}" for name in sorted(fixed))
        raise UsageError(f"{named} would limit a size that --params and --tokens already fix")
    return {"days": "gpus_days", "params": "size"}.get(budgets[0], budgets[0])


def _machine(read: Options) -> Machine | None:
    if read.gpu is None:
        if lost := read.given().keys() & {"gpus", "price", "mfu"}:
            named = " and ".join(f"--{name}" for name in sorted(lost))
            raise UsageError(f"{named} says nothing without --gpu NAME, for instance --gpu h100")
        return None
    found = device(read.gpu)
    mfu, mfu_source = mfu_of(read.mfu)
    price, price_source = _price(read.price, found)
    return Machine(found, mfu, mfu_source, price, price_source, read.gpus)


def _price(stated: float | None, found: Device) -> tuple[Estimate | None, str]:
    if stated is None:
        return found.price, found.price_source
    return Estimate.exactly(stated, "stated"), "stated"


def _flops(kind: str, read: Options, machine: Machine | None) -> float | None:
    if kind == "gpus_days" and machine and read.gpus and read.days:
        return machine.flops(read.gpus * read.days * 24.0)
    if kind == "usd" and machine and read.usd:
        if machine.price is None:
            raise UsageError(
                f"the table knows no rental price of {machine.device.name}; add --price USD per "
                "GPU-hour"
            )
        return machine.flops(read.usd / machine.price.value)
    return read.flops
