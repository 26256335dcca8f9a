"""Copies of a running sweep for the dashboards people already have. They never steer.

A mirror hears what a watch hears and writes it elsewhere, in a thread of its own: a library that is
missing, a server that hangs or a full disk costs one warning sentence and that mirror, never a
trial. The ledger alone is the record; what a mirror missed is not repeated on resume.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import Full, Queue
from typing import Any, Protocol, cast

from planner._secrets import hide
from planner.run import Run, Trial
from planner.sweep.events import Progress
from planner.sweep.watch import Watch

NAMES = ("mlflow", "optuna", "tensorboard", "wandb")

MOST_WAITING = 10_000
"""Messages a mirror may be behind; beyond them it counts as hanging."""

CLOSING_SECONDS = 30.0
"""How long the end of a sweep waits for a mirror to write what it still has."""


class Mirror(Protocol):
    """One copy; whatever it raises ends it and nothing else."""

    def progress(self, event: Progress, trial: Trial) -> None:
        """Copy a point of a training curve."""

    def ended(self, run: Run) -> None:
        """Copy a recorded trial."""

    def close(self) -> None:
        """Write what is left."""


def facts_of(trial: Trial) -> dict[str, str | float]:
    """Return what sets a trial apart, as flat words and numbers."""
    fields = ("stage", "tokens", "batch_tokens", "lr", "warmup_tokens", "weight_decay", "seed")
    facts = {name: getattr(trial, name) for name in fields} | {"schedule": trial.schedule.name}
    facts |= {name: value for name, value in trial.shape.items() if name not in facts}
    return {n: v if isinstance(v, int | float | str) else str(v) for n, v in facts.items()}


class _Feed:
    """A mirror's thread and what waits for it."""

    def __init__(self, name: str, make: Callable[[], Mirror]) -> None:
        self._name, self._make = name, make
        self._waiting: Queue[Callable[[Mirror], None] | None] = Queue(MOST_WAITING)
        self._off = False
        self._thread = threading.Thread(target=self._serve, name=f"mirror-{name}", daemon=True)
        self._thread.start()

    def tell(self, what: Callable[[Mirror], None] | None) -> None:
        try:
            if not self._off:
                self._waiting.put_nowait(what)
        except Full:
            self._give_up(f"it is {MOST_WAITING:,} messages behind")

    def close(self) -> None:
        self.tell(None)
        self._thread.join(CLOSING_SECONDS)
        if self._thread.is_alive():
            self._give_up(f"it has not finished in {CLOSING_SECONDS:.0f} s")

    def _serve(self) -> None:
        try:
            mirror = self._make()
            while (what := self._waiting.get()) is not None:
                what(mirror)
            mirror.close()
        except ImportError as error:
            self._give_up(f"{error}; pip install 'scaling-planner[{self._name}]'")
        except BaseException as error:  # also what a library raises that exits
            self._give_up(f"{type(error).__name__}: {error}")

    def _give_up(self, why: str) -> None:
        if not self._off:
            self._off = True
            told = hide(" ".join(why.split()))[:400]
            print(f"the mirror {self._name} is off: {told}", file=sys.stderr)  # noqa: T201


class Mirrored:
    """A watch that tells another one everything, and the mirrors what ended and how far it is."""

    def __init__(self, watch: Watch, feeds: tuple[_Feed, ...]) -> None:
        self._watch, self._feeds = watch, feeds

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 (all that the watch can be told)
        return getattr(self._watch, name)

    def __enter__(self) -> Watch:
        return cast(Watch, self)

    def __exit__(self, *_: object) -> None:
        for feed in self._feeds:
            feed.close()

    def progress(self, event: Progress, trial: Trial) -> None:
        """Tell all of a trial's progress."""
        self._watch.progress(event, trial)
        self._tell(lambda mirror: mirror.progress(event, trial))

    def ended(self, run: Run, spent: float) -> None:
        """Tell all of a recorded trial."""
        self._watch.ended(run, spent)
        self._tell(lambda mirror: mirror.ended(run))

    def _tell(self, what: Callable[[Mirror], None]) -> None:
        for feed in self._feeds:
            feed.tell(what)


def mirrored(watch: Watch, wanted: Mapping[Any, str | None], study: str, folder: Path) -> Mirrored:
    """Return the watch with mirrors beside it; each ``wanted`` name has a place, or its default.

    Defaults lie in ``folder``, the study's own. Use it as a context: leaving writes what is left.
    """

    def make(name: str, place: str | None) -> Callable[[], Mirror]:
        def open_it() -> Mirror:
            module = importlib.import_module(f"planner.sweep.mirrors.{name}")
            return cast(Mirror, module.open_mirror(study, place, folder.resolve()))

        return open_it

    return Mirrored(watch, tuple(_Feed(name, make(name, place)) for name, place in wanted.items()))
