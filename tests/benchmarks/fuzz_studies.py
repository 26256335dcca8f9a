"""Damaged logs and study folders, and what a reader may make of them."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from planner._log import SEAL_BYTES, seal
from planner.campaign import run_campaign
from planner.errors import PlannerError
from planner.ledger import Ledger
from planner.offline import write_conclusion
from planner.status import print_status
from planner.study import conclude, read_study
from tests.benchmarks.fuzz_bytes import damaged_bytes, damaged_value
from tests.studies import small_space

LINES = 90
"""Of the log that is damaged bytewise: two rounds and a half."""

FITTED = 0.1
"""Share of the damaged folders that are fitted and planned too: half a second each."""


@dataclass(frozen=True)
class Sample:
    """A finished study, the bytes of the beginning of its log, and the state after each line."""

    folder: Path
    log: bytes
    states: frozenset[str]

    @classmethod
    def make(cls, folder: Path) -> Sample:
        """Sweep a small study."""
        run_campaign(small_space(folder), folder / "study", report=False)
        return cls.of(folder / "study")

    @classmethod
    def of(cls, study: Path) -> Sample:
        """Read every beginning of a finished study's log."""
        lines = (study / "events.jsonl").read_bytes().splitlines(keepends=True)[:LINES]
        states = frozenset(_state_of(b"".join(lines[:n])) for n in range(LINES + 1))
        return cls(study, b"".join(lines), states)


def _state(ledger: Ledger) -> str:
    """Everything a ledger knows, as text: nan equals nan."""
    return repr((ledger.rounds, ledger.runs, ledger.prediction, ledger.spent_flops, ledger.hash()))


def _state_of(log: bytes) -> str:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "events.jsonl").write_bytes(log)
        return _state(Ledger.read(Path(folder)))


def log_bytes_case(sample: Sample, draw: random.Random, folder: Path) -> str:
    """Damage the bytes of a log: only a state the study was in may come out."""
    log = folder / "events.jsonl"
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        content = damaged_bytes(draw, log.read_bytes() if log.exists() else sample.log)
        log.write_bytes(content)
    state = _state(Ledger.read(folder))
    assert state in sample.states, "the log tells of a state the study was never in"
    with Ledger.open(folder) as ledger:
        assert _state(ledger) == state, "reading and opening differ"
        ledger.predicted({"after": "repair"})
    assert Ledger.read(folder).prediction == {"after": "repair"}
    return "unchanged" if content == sample.log else "repaired"


def log_values_case(sample: Sample, draw: random.Random, folder: Path) -> str:
    """Change a value of an event under a checksum that holds, or in a log that has none."""
    shutil.copytree(sample.folder, folder / "study", ignore=shutil.ignore_patterns("checkpoints"))
    log = folder / "study" / "events.jsonl"
    lines = [line[:-SEAL_BYTES] + "}\n" for line in log.read_text().splitlines()]
    at = draw.randrange(len(lines))
    event = damaged_value(draw, json.loads(lines[at]))
    if not isinstance(event, dict):
        event = {"n": at + 1, "event": event}
    elif draw.random() < 0.8:
        event["n"] = at + 1
    lines[at] = json.dumps(event) + "\n"
    if draw.random() < 0.5:
        lines = [seal(line) for line in lines]
    log.write_text("".join(lines))
    return _used(folder / "study", draw)


def folder_case(sample: Sample, draw: random.Random, folder: Path) -> str:
    """Damage another file of a study than its log."""
    shutil.copytree(sample.folder, folder / "study", ignore=shutil.ignore_patterns("checkpoints"))
    names = ("env.json", "space.yaml", "runs.jsonl", "fit.json", "plan.json", "prediction.json")
    path = folder / "study" / draw.choice(names)
    if draw.random() < 0.5 and path.suffix == ".json":
        path.write_text(json.dumps(damaged_value(draw, json.loads(path.read_text()))))
    else:
        path.write_bytes(damaged_bytes(draw, path.read_bytes()))
    return _used(folder / "study", draw)


def _used(study: Path, draw: random.Random) -> str:
    """Look at a study as the commands do, and sometimes plan from it."""
    print_status(study, audit=False, as_json=draw.random() < 0.5)
    if draw.random() < FITTED:
        try:
            conclude(read_study(study))
            write_conclusion(study, report=False)
        except PlannerError:
            return "read, no plan"
        return "planned"
    return "read"
