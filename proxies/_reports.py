"""What a trainer writes of itself, as records of numbers under the planner's names.

A record is a JSON object on a line, a row of a CSV file, or the scalars of one TensorBoard event.
``map`` says which of their names is which of ours; a name that is ours already needs no mention,
unless ``map`` gives that place to another.
"""

from __future__ import annotations

import csv
import glob
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from planner.errors import SpaceError

PLACED = ("tokens", "step")
NEEDED = (*PLACED, "loss", "final_loss", "loss_se")
"""Names whose values must be numbers: nothing may be guessed about them."""

NAMES = (*NEEDED, "params", "flops_per_token", "lr", "grad_norm")
"""All that ``map`` may name."""

TRAINING = ("loss", "train_loss", "train/loss", "training_loss", "train.loss", "running_loss")
"""Names of training losses, which are never taken for the validation loss."""

Record = Mapping[str, object]


class BadReportError(Exception):
    """What is meant as a report cannot be read as one."""


@dataclass(frozen=True)
class Names:
    """``theirs`` -> ours."""

    theirs: Mapping[str, str]

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Names:
        """Read the option ``map``. Raises SpaceError with what it may say."""
        if not isinstance(given, Mapping):
            raise SpaceError(
                "proxy command: `map` must be a mapping such as {val_loss: final_loss}"
            )
        for theirs, ours in given.items():
            if ours not in NAMES:
                raise SpaceError(
                    f"proxy command: `map` makes `{theirs}` to `{ours}`, which means nothing here; "
                    f"write `their name: our name` with one of {', '.join(NAMES)}"
                )
            if ours == "final_loss" and str(theirs).lower() in TRAINING:
                raise SpaceError(
                    f"proxy command: `map` takes `{theirs}` for the final loss, but that is a name "
                    "of the training loss: let the trainer evaluate on held-out data at its end "
                    "and name that"
                )
        return cls({str(theirs): ours for theirs, ours in given.items()})

    @property
    def final(self) -> tuple[str, ...]:
        """Their names of the final loss, where ``map`` gives any."""
        return tuple(theirs for theirs, ours in self.theirs.items() if ours == "final_loss")

    def read(self, said: Record) -> dict[str, float]:
        """Return the numbers of a record. Raises BadReportError where a needed one is none."""
        taken, found = set(self.theirs.values()), {}
        for name, value in _leaves(said):
            ours = self.theirs.get(name, "" if name in taken else name)
            number = _number(value)
            if number is not None and not (ours in PLACED and math.isnan(number)):
                found[ours] = number
            elif ours in NEEDED:
                raise BadReportError(
                    f"the trainer's report {json.dumps(said, default=str)[:300]} has a `{name}` "
                    "that is no number"
                )
        found.pop("", None)
        return found


def json_record(line: bytes) -> Record:
    """Return the JSON object of a line, or an empty one: trainers print other things too."""
    if not line.lstrip().startswith(b"{"):
        return {}
    try:
        said = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


@dataclass
class Files:
    """The report files of one attempt: those that match ``pattern``, looked at again and again.

    A file is read anew whenever it has changed, since loggers rewrite theirs when a new name
    appears. What was in it when the attempt began is not this attempt's.
    """

    pattern: str
    _seen: dict[str, int] = field(default_factory=dict)
    _state: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        list(self.fresh(last=True))

    def fresh(self, *, last: bool = False) -> Iterator[Record]:
        """Yield the records that are new; only at the end is a line without an end one.

        Raises BadReportError for a file that cannot be read.
        """
        for name in self.found():
            status = Path(name).stat()
            state = status.st_mtime_ns, status.st_size
            if state == self._state.get(name) and not last:
                continue
            rows = _read(Path(name), last=last)
            seen = self._seen.get(name, 0)
            self._state[name], self._seen[name] = state, len(rows)
            yield from rows[seen if seen <= len(rows) else 0 :]

    def found(self) -> list[str]:
        """Return the files there are: of a folder, its event files."""
        names = sorted(glob.glob(self.pattern, recursive=True))
        files = [name for name in names if Path(name).is_file()]
        for name in set(names) - set(files):
            files += sorted(str(path) for path in Path(name).rglob("*tfevents*"))
        return files


def _read(path: Path, *, last: bool) -> list[Record]:
    """Read a file by its kind."""
    try:
        if "tfevents" in path.name:
            return _events(path)
        text = path.read_text(encoding="utf-8", errors="replace")
        if not last:
            text = text[: text.rfind("\n") + 1]
        return _READERS.get(path.suffix.lower(), _lines)(text)
    except FileNotFoundError:  # it was replaced while it was looked at
        return []
    except (OSError, ValueError, csv.Error) as error:
        raise BadReportError(f"its reports in {path.name} cannot be read: {error}") from None


def _lines(text: str) -> list[Record]:
    return [record for line in text.split("\n") if (record := json_record(line.encode()))]


def _comma(text: str) -> list[Record]:
    return _rows(text, ",")


def _tab(text: str) -> list[Record]:
    return _rows(text, "\t")


def _rows(text: str, delimiter: str) -> list[Record]:
    """Return the rows of a table, empty cells left out."""
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    return [{name: cell for name, cell in row.items() if name and cell} for row in reader]


def _events(path: Path) -> list[Record]:
    """Return the steps of an event file that logged a scalar. The import takes half a second."""
    from planner.importers._events import scalars
    from planner.importers._tfrecord import records

    found = (scalars(record) for record in records(path))
    return [{"step": step, **values} for step, values, _ in found if values]


_READERS: dict[str, Callable[[str], list[Record]]] = {".csv": _comma, ".tsv": _tab}


def _leaves(said: Record, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in said.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _number(value: object) -> float | None:
    """Return a number, also one written as text; ``null`` is how JSON writers spell NaN."""
    if value is None:
        return math.nan
    if not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None
