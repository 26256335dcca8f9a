"""What a study has decided, started and found: the log every decision is a pure function of.

``events.jsonl`` is the log: numbered JSON lines ``decided``, ``started``, ``progress``, ``ended``,
``lost``, ``predicted`` after a first line ``study`` with the version of the format. The state of a
:class:`Ledger` is the fold of those lines and of nothing else, live as after a crash. A trial is
*recorded* once: the first end of its newest attempt. Results of older attempts are discarded, and
every attempt is paid for (:mod:`planner._spend`).
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from planner._derived import curve_file, restore_table
from planner._log import (
    SCHEMA_VERSION,
    append_line,
    encode_line,
    fold_log,
    refuse_constant,
    replace_file,
    seal,
    take_lock,
    unwritable,
)
from planner._secrets import hide
from planner._spend import ALONE, Held
from planner._state import LogState
from planner.errors import LedgerError
from planner.run import Round, Run, Trial
from planner.shape import Size

LEAST_ROOM = 1 << 20
"""Bytes below which a disk counts as full: less than one checkpoint or curve."""

_FOUND_BEFORE_THE_LOG = {"lock", "space.yaml", "check.json"}


class Ledger(LogState):
    """A study folder. ``Ledger.open`` locks it for writing, ``Ledger.read`` only looks.

    What it holds is told by :class:`planner._state.LogState`; ``repaired`` is a sentence when the
    log's last line was cut by a crash (else empty).
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.repaired = ""
        self._decoder = json.JSONDecoder(
            object_hook=self._trials.decode, parse_constant=refuse_constant
        )
        self._clocks: dict[tuple[str, int], tuple[float, int]] = {}
        self._lines = 0
        self._lock: int | None = None

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Lock a study for writing, new or old, and repair a cut last line.

        Raises StudyLockedError when another process works on it, LedgerError when it is damaged,
        written by a newer planner, not a study, or on a disk that cannot be used.
        """
        ledger = cls(Path(folder))
        try:
            ledger._claim()
            ledger._restore()
        except OSError as error:
            ledger.close()
            raise unwritable(ledger.folder, error) from error
        except BaseException:
            ledger.close()
            raise
        return ledger

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Look at a study without locking or writing; a line still being written is left out."""
        ledger = cls(Path(folder))
        if not ledger._log.is_file():
            raise LedgerError(f"{folder} is not a study: it has no events.jsonl")
        if ledger._replay():
            ledger.repaired = f"{ledger._log}: the last line is cut; it is left out"
        return ledger

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def running(self) -> int:
        """How many attempts this process has started that are not over."""
        return len(self._clocks)

    def decided(self, decision: Round, policy: str) -> None:
        """Store a round before any of its trials starts; ``policy`` is the deciding version."""
        self._append("decided", {"policy": policy, "round": decision.to_json()})

    def started(
        self, key: str, attempt: int, host: str, trial: Trial, size: Size, held: Held = ALONE
    ) -> None:
        """Store that an attempt starts; from now on results of older ones are discarded."""
        cost = {
            "fork_at": trial.fork_at,
            "tokens": trial.tokens,
            "flops_per_token": size.flops_per_token,
            "devices": held.devices,
        }
        self._append("started", {"key": key, "attempt": attempt, "host": host} | cost)
        self._spend.watch(key, attempt)
        self._clocks[key, attempt] = time.monotonic(), held.among

    def progress(self, key: str, attempt: int, tokens: int, *, resumed: bool = False) -> None:
        """Store that an attempt resumed, or came into another tenth; less is not stored.

        It is not forced to the disk: what only a power cut can lose steers nothing.
        """
        if resumed or self._spend.passes_mark(key, attempt, tokens):
            reached = {"key": key, "attempt": attempt, "tokens": tokens}
            reached |= {"resumed": True} if resumed else {}
            self._append("progress", reached | self._clock(key, attempt), durable=False)

    def ended(self, run: Run) -> bool:
        """Store the end of an attempt; ``run.spent_flops`` is what this attempt alone cost.

        Returns whether the run is recorded: not when its trial already is, nor when a newer attempt
        has started (its spend counts all the same).
        """
        run = replace(run, note=hide(run.note))
        recorded = self._is_news(run)
        self._append("ended", {"run": run.to_json()})
        self._clocks.pop((run.key, run.attempt), None)
        if recorded:
            append_line(self._table, encode_line(self.runs[run.key].to_json()), durable=False)
        return recorded

    def lost(
        self, key: str, attempt: int, note: str, tokens: int | None = None, *, counts: bool = True
    ) -> None:
        """Store that an attempt ended without a result, and why; its seconds are paid for.

        ``tokens`` is how far it came, where that is known; ``counts`` says that the trial itself
        may be the cause.
        """
        content = {"key": key, "attempt": attempt, "note": hide(note)}
        content |= {"tokens": tokens, "counts": counts}
        self._append("lost", content | self._clock(key, attempt))
        self._clocks.pop((key, attempt), None)

    def has_room(self) -> bool:
        """Say whether the study's disk still takes LEAST_ROOM bytes."""
        return shutil.disk_usage(self.folder).free >= LEAST_ROOM

    def predicted(self, prediction: Mapping[str, Any]) -> None:
        """Store a prediction, with the hash of the ledger as it stands before it."""
        self._append("predicted", {"ledger": self.hash(), "prediction": dict(prediction)})

    def learned(self, number: int, standing: Mapping[str, Any]) -> None:
        """Note what is still doubtful after a round, for people: nothing is decided by it."""
        line = encode_line({"round": number} | dict(standing))
        append_line(self.folder / "progress.jsonl", line, durable=False)

    def save_curve(self, key: str, curve: Mapping[str, Sequence[float]]) -> None:
        """Write curves/<key>.parquet, one float column per name."""
        self._make(self.folder / "curves")
        replace_file(self.folder / "curves" / f"{key}.parquet", curve_file(curve))

    def _clock(self, key: str, attempt: int) -> dict[str, float]:
        """Return the seconds an attempt has taken so far, if it was started here."""
        began, among = self._clocks.get((key, attempt), (None, 1))
        return {} if began is None else {"seconds": round((time.monotonic() - began) / among, 3)}

    @property
    def _log(self) -> Path:
        return self.folder / "events.jsonl"

    @property
    def _table(self) -> Path:
        return self.folder / "runs.jsonl"

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(folder, error) from error

    def _claim(self) -> None:
        self._make(self.folder)
        present = {path.name for path in self.folder.iterdir()}
        if present and not present & (_FOUND_BEFORE_THE_LOG | {self._log.name}):
            raise LedgerError(
                f"{self.folder} is not a study: it holds other files and no events.jsonl; "
                "choose a new or an empty folder"
            )
        self._lock = take_lock(self.folder / "lock")

    def _restore(self) -> None:
        """Bring the folder in order: log without a cut line, runs.jsonl as the log says."""
        if self._log.exists() and (cut := self._replay()):
            with (self.folder / "events.cut").open("ab") as aside:
                aside.write(cut + b"\n")
            os.truncate(self._log, self._log.stat().st_size - len(cut))
            self.repaired = (
                f"{self._log}: line {self._lines + 1} was cut by a crash; {len(cut)} bytes moved "
                "to events.cut, and what they told is done again"
            )
        if not self._lines:
            self._append("study", {"schema_version": SCHEMA_VERSION})
        restore_table(self._table, self.runs.values())

    def _replay(self) -> bytes:
        self._lines, cut = fold_log(self._log, self._apply, decoder=self._decoder)
        return cut

    def _append(self, kind: str, content: dict[str, Any], *, durable: bool = True) -> None:
        if self._lock is None:
            raise LedgerError(f"the study {self.folder} is open for reading only")
        head = {"n": self._lines + 1, "event": kind, "time": round(time.time(), 3)}
        line = seal(encode_line(head | content))
        append_line(self._log, line, durable=durable)
        self._lines += 1
        self._apply(self._decoder.decode(line))
