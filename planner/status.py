"""Where a study stands, from its log alone: rounds, spend, time left, what is doubtful so far.

The log is folded line by line without building runs, and nothing of the sweep, the fits or the
proxy is loaded: a study of 10,000 runs is told in a second, and a larger one in proportion.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from planner._derived import noted_standings, read_mapping
from planner._log import fold_log
from planner._tally import Fold
from planner.bought import Bought, Doubt, bought, unit_of
from planner.errors import LedgerError
from planner.space import SearchSpace, load_space
from planner.sweep.gauge import Gauge
from planner.units import format_duration, format_flops

SCHEMA_VERSION = 1
WIDE = 110
"""Columns of a terminal from which a round's question has room beside its figures."""


@dataclass(frozen=True)
class Status:
    """A study's fold, its space, and what its rounds left in doubt (``known``, by number)."""

    folder: Path
    space: SearchSpace
    fold: Fold
    known: Mapping[int, Mapping[str, Any]]
    cut: bool

    @property
    def device_hours(self) -> float:
        """Device hours of every attempt that is over."""
        return self.fold.spend.device_seconds / 3600

    @property
    def usd(self) -> float | None:
        """Dollars of those hours; None where no price is stated."""
        return None if self.space.price is None else self.device_hours * self.space.price

    @property
    def bought(self) -> tuple[str, list[Bought]]:
        """What each round bought, and per what: a dollar where a price is stated, else FLOPs.

        Dollars are the round's share of the trials' time.
        """
        rounds = self.fold.rounds
        doubts = [_doubt(self.known.get(one.number)) for one in rounds]
        if self.usd and self.fold.trial_seconds:
            rate = self.usd / self.fold.trial_seconds
            costs, unit, name = [rate * one.seconds for one in rounds], 1.0, "$1"
        else:
            costs = [one.flops for one in rounds]
            unit = unit_of(costs)
            name = format_flops(unit, 1)
        return name, bought(list(zip(costs, doubts, strict=True)), unit)

    @property
    def seconds_left(self) -> float | None:
        """Seconds the rest is expected to take; 0 once there is a plan."""
        if (self.folder / "plan.json").is_file():
            return 0.0
        return self.fold.gauge.seconds_left(self.space.executor.processes)

    @property
    def findings(self) -> list[str]:
        """What is doubtful so far, in sentences."""
        fold, found = self.fold, []
        if failed := fold.counts["failed"]:
            found.append(f"{failed} trials failed; the first says: {fold.failure[:200]}")
        if diverged := fold.counts["diverged"]:
            found.append(f"{diverged} trials diverged; their losses are bounds")
        if fold.lost:
            found.append(f"{fold.lost} attempts were lost; what they cost is counted")
        if self.cut:
            found.append("the last line of the log is cut; it is left out")
        return found + self._of_plan()

    def to_json(self) -> dict[str, Any]:
        """Return the status as plain data."""
        fold = self.fold
        return {
            "schema_version": SCHEMA_VERSION,
            "study": self.space.study,
            "rounds": len(fold.rounds),
            "trials": dict(fold.counts),
            "spent_flops": fold.spend.total,
            "budget_flops": self.space.budget.flops,
            "trial_seconds": fold.trial_seconds,
            "device_hours": self.device_hours,
            "spent_usd": self.usd,
            "seconds_left": self.seconds_left,
            "bought": self._bought_json(),
            "findings": self.findings,
            "plan": (self.folder / "plan.json").is_file(),
        }

    def _bought_json(self) -> list[dict[str, Any]]:
        unit, each = self.bought
        return [
            one.to_json(self.known.get(one.number))
            | {"per": unit, "regret_nats_off": off.regret, "interval_nats_off": off.width}
            for one, off in zip(self.fold.rounds, each, strict=True)
        ]

    def _of_plan(self) -> list[str]:
        path = self.folder / "plan.json"
        if not path.is_file():
            return []
        plan = read_mapping(path)
        told = [f"{one['severity']}: {one['what']}" for one in plan.get("findings", ())]
        return [str(plan.get("headline", "")), *told]


def read_status(folder: Path) -> Status:
    """Fold a study's log. Raises LedgerError when it is not a study, or is damaged."""
    log = folder / "events.jsonl"
    if not log.is_file():
        raise LedgerError(
            f"{folder} is not a study folder (no events.jsonl); `planner sweep` makes one"
        )
    fold = Fold(Gauge(read_mapping(folder / "env.json").get("prices", {})))
    _, cut = fold_log(log, fold.apply, later=fold.later)
    fold.finish()
    return Status(
        folder, load_space(folder / "space.yaml"), fold, noted_standings(folder), bool(cut)
    )


def print_status(folder: Path, *, audit: bool, as_json: bool) -> None:
    """Print where a study stands; with ``audit`` recompute every stored decision."""
    status = read_status(folder)
    audited = []
    if audit:
        from planner.campaign import audit_study  # it needs the proxy and the fits

        audited = audit_study(folder)
    if as_json:
        told = status.to_json() | ({"audit": audited} if audit else {})
        print(json.dumps(told))  # noqa: T201
        return
    console = Console()
    console.print(_table(status, why=console.width >= WIDE))
    console.print(_spent(status))
    if sentence := _bought(status):
        console.print(sentence)
    for sentence in status.findings:
        console.print(sentence, markup=False)
    for sentence in audited:
        console.print(f"audit: {sentence}")


def _table(status: Status, *, why: bool) -> Table:
    """Return one row per round: what it asked, used, found, and what it left in doubt."""
    table = Table("round", title=str(status.folder))
    table.add_column("stage", min_width=8)
    for name in ("ended", "FLOPs", "best loss", *(_LEFT if status.known else ())):
        table.add_column(name, justify="right", no_wrap=True)
    if why:
        table.add_column("why")
    for one in status.fold.rounds:
        best = "-" if one.best is None else f"{one.best:.4f}"
        cells = [
            str(one.number),
            one.stage.replace("+", " + "),
            f"{one.ended}/{one.trials}",
            f"{one.flops:.3g}",
            best,
        ]
        if status.known:
            cells += _left(status.known.get(one.number, {}))
        table.add_row(*cells, *([one.why] if why else []))
    if status.known:
        table.caption = "at the target: regret of lr and batch, nats; 90 % interval of its loss"
    return table


_LEFT = ("regret", "loss there")


def _doubt(known: Mapping[str, Any] | None) -> Doubt | None:
    """Return what a round left in doubt."""
    if known is None:
        return None
    loss = known.get("loss")
    return Doubt(known["regret_nats"], loss["high"] - loss["low"] if loss else None)


def _left(known: Mapping[str, Any]) -> tuple[str, str]:
    """Say what a round left in doubt."""
    loss = known.get("loss")
    regret = f"{known['regret_nats']:.2g}" if known else "-"
    return regret, f"{loss['low']:.2f}-{loss['high']:.2f}" if loss else "-"


def _bought(status: Status) -> str:
    """Say what the last FLOPs bought, where that is known."""
    unit, each = status.bought
    known = [pair for pair in zip(status.fold.rounds, each, strict=True) if pair[1].told != "-"]
    if not known:
        return ""
    (last, off), more = known[-1], ""
    if off.width is not None:
        more = f" and {off.width:+.2g} off the interval of its loss"
    return (
        f"round {last.number} ({last.stage}) took, per {unit}, {off.regret:+.2g} nats off the "
        f"regret at the target{more}"
    ) + ("; below zero: the doubt grew" if min(off.regret or 0, off.width or 0) < 0 else "")


def _spent(status: Status) -> str:
    """Say what is spent, of what, and how long the rest takes."""
    counts = ", ".join(f"{count} {name}" for name, count in status.fold.counts.items())
    usd = "" if status.usd is None else f" (${status.usd:.3g})"
    left = status.seconds_left
    rest = "" if left == 0 else f"; about {'?' if left is None else format_duration(left)} left"
    return (
        f"{status.fold.spend.total:.3g} of {status.space.budget.flops:.3g} FLOPs and "
        f"{status.device_hours:.3g} device hours{usd} spent; {counts or 'nothing has ended'}{rest}"
    )
