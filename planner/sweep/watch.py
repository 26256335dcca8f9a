"""What a person sees of a running sweep: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.table import Table

from planner.decide.standing import Standing
from planner.ledger import Ledger
from planner.run import Round, Run, Trial
from planner.sweep.events import Died, Progress
from planner.sweep.gauge import Gauge
from planner.sweep.layout import Layout
from planner.units import format_count, format_duration, format_interval
from planner.words import TOKENS, in_unit


class Watch(Protocol):
    """What the loop tells whoever watches; never a reason to act."""

    def round_begins(self, step: Round, waiting: int, spent: float) -> None:
        """Show that a round begins (or goes on) with ``waiting`` trials."""

    def progress(self, event: Progress, trial: Trial) -> None:
        """Show that a trial reported."""

    def died(self, event: Died, trial: Trial) -> None:
        """Show that a worker died under a trial."""

    def ended(self, run: Run, spent: float) -> None:
        """Show a recorded trial; ``spent`` FLOPs so far."""

    def round_ends(self, step: Round, known: Standing) -> None:
        """Show what is still doubtful after a round."""


@dataclass(frozen=True)
class Meter:
    """What the figures of a watch are read from: budget, ledger, price of an hour, and slots.

    ``unit`` is what the proxy's tokens are called.
    """

    layout: Layout
    budget: float
    ledger: Ledger
    slots: int = 1
    price: float | None = None
    unit: str = TOKENS

    def gauge(self) -> Gauge:
        """Return a gauge of what the ledger holds."""
        gauge = Gauge({stage.name: stage.flops for stage in self.layout.stages})
        for step in self.ledger.rounds:
            gauge.decided({trial.stage for trial in step.trials})
        for run in self.ledger.runs.values():
            gauge.ended(run.trial.stage, run.spent_flops, run.seconds)
        return gauge

    def clocks(self) -> str:
        """Say what has been used beside FLOPs."""
        hours = self.ledger.device_seconds / 3600
        usd = "" if self.price is None else f" (${hours * self.price:.3g})"
        return f"{hours:.3g} device hours{usd}"


class _Board:
    """The figures every watch shows: round, trials, slots, what is spent, time left."""

    def __init__(self, meter: Meter) -> None:
        self._meter, self._gauge = meter, meter.gauge()
        self._step: Round | None = None
        self._done = self._total = 0
        self._spent = 0.0
        self._known: Standing | None = None

    def round_begins(self, step: Round, waiting: int, spent: float) -> None:
        self._step, self._done, self._total = step, 0, waiting
        self._spent = spent
        self._gauge.decided({trial.stage for trial in step.trials})

    def ended(self, run: Run, spent: float) -> None:
        self._done += 1
        self._gauge.ended(run.trial.stage, run.spent_flops, run.seconds)
        self._spent = spent

    def bought(self, known: Standing) -> str:
        """Say what a round has changed about the target."""
        before, self._known = self._known, known
        was = "" if before is None else f" (was {before.regret_nats:.2g})"
        told = f"expected regret of lr and batch at the target {known.regret_nats:.2g} nats{was}"
        if known.loss is not None and known.params is not None:
            loss, params = known.loss, known.params
            told += (
                f"; loss there {loss.value:.3f} [{loss.low:.3f}, {loss.high:.3f}], "
                f"N* {format_interval(params.value, params.low, params.high, format_count)}"
            )
        return told

    def time_left(self) -> str:
        """Return the time the rest takes, stage by stage at the pace so far."""
        left = self._gauge.seconds_left(self._meter.slots)
        return "?" if left is None else format_duration(left)

    def headline(self) -> str:
        step = self._step
        if step is None:
            return "starting"
        return (
            f"round {step.number} {step.stage}: {self._done}/{self._total} trials, "
            f"{self._meter.ledger.running}/{self._meter.slots} slots busy, "
            f"{self._spent:.3g} of {self._meter.budget:.3g} FLOPs, {self._meter.clocks()}, "
            f"about {self.time_left()} left"
        )


class PlainWatch(_Board):
    """One line per round and per ended trial, on stderr."""

    def round_begins(self, step: Round, waiting: int, spent: float) -> None:
        """Print the round and why it is run."""
        super().round_begins(step, waiting, spent)
        self._say(f"round {step.number} {step.stage}: {waiting} trials; {step.why}")

    def progress(self, event: Progress, trial: Trial) -> None:
        """Say nothing: plain lines are for what has ended."""

    def died(self, event: Died, trial: Trial) -> None:
        """Print which trial lost its worker."""
        self._say(
            f"  a worker died under {describe(trial)} (attempt {event.attempt}): {event.note}"
        )

    def ended(self, run: Run, spent: float) -> None:
        """Print the result and where the sweep stands."""
        super().ended(run, spent)
        self._say(f"  {describe(run.trial)}: {result(run)}  [{self.headline()}]")

    def round_ends(self, step: Round, known: Standing) -> None:
        """Print what the round has changed about the target."""
        self._say(f"  round {step.number} leaves: {self.bought(known)}")

    def _say(self, text: str) -> None:
        print(in_unit(text, self._meter.unit), file=sys.stderr, flush=True)  # noqa: T201


class LiveWatch(_Board):
    """A live table of the running trials under lines for what has ended; for terminals."""

    def __init__(self, meter: Meter) -> None:
        super().__init__(meter)
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, refresh_per_second=2, transient=True)
        self._running: dict[str, tuple[Progress, Trial]] = {}

    def __enter__(self) -> LiveWatch:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def round_begins(self, step: Round, waiting: int, spent: float) -> None:
        """Print the round and why it is run."""
        super().round_begins(step, waiting, spent)
        self._print(f"[bold]round {step.number} {step.stage}[/bold]: {step.why}")
        self._refresh()

    def progress(self, event: Progress, trial: Trial) -> None:
        """Move the trial's line."""
        self._running[event.key] = (event, trial)
        self._refresh()

    def died(self, event: Died, trial: Trial) -> None:
        """Print which trial lost its worker."""
        self._running.pop(event.key, None)
        self._print(f"[red]a worker died[/red] under {describe(trial)}: {event.note}")

    def ended(self, run: Run, spent: float) -> None:
        """Print the result."""
        super().ended(run, spent)
        self._running.pop(run.key, None)
        self._print(f"  {describe(run.trial)}: {result(run)}")
        self._refresh()

    def round_ends(self, step: Round, known: Standing) -> None:
        """Print what the round has changed about the target."""
        self._print(f"  round {step.number} leaves: {self.bought(known)}")

    def ask(self, question: str) -> bool:
        """Ask for a yes, with the live line out of the way."""
        self._live.stop()
        try:
            return self._console.input(f"{question}. Go on? \\[y/N] ").strip().lower() in (
                "y",
                "yes",
            )
        finally:
            self._live.start()

    def _print(self, text: str) -> None:
        self._console.print(in_unit(text, self._meter.unit))

    def _refresh(self) -> None:
        table = Table.grid(padding=(0, 2))
        for event, trial in self._running.values():
            share = event.tokens / trial.tokens
            name = in_unit(describe(trial), self._meter.unit)
            table.add_row(f"  {name}", f"{share:4.0%}", f"loss {event.loss:.3f}")
        table.add_row(f"[bold]{self.headline()}[/bold]")
        self._live.update(table)


def describe(trial: Trial) -> str:
    """Name a trial by what sets it apart."""
    shape = " ".join(f"{name} {value}" for name, value in trial.shape.items())
    kind = {"constant": "trunk ", "finder": "range test "}.get(trial.schedule.name, "")
    fork = "fork " if trial.parent else ""
    return (
        f"{kind}{fork}{shape}, {format_count(trial.tokens)} tokens, "
        f"batch {trial.batch_tokens}, lr {trial.lr:.3g}, seed {trial.seed}"
    )


def result(run: Run) -> str:
    """Say how a trial ended."""
    if run.done and run.trial.schedule.name == "finder":
        return f"breaks at lr {run.metrics['lr_div']:.3g}, bracket only"
    if run.done:
        return f"loss {run.loss:.4f} in {format_duration(run.seconds)}"
    last = run.note.strip().splitlines()
    return f"{run.status.value}: {last[-1][:160] if last else 'no note'}"
