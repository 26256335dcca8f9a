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

from planner._deaths import Deaths
from planner._derived import curve_file, restore_table, what_counts
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
from planner._losses import Losses
from planner._secrets import hide
from planner._spend import ALONE, Held, Spend
from planner._trials import TrialIndex
from planner.errors import LedgerError
from planner.run import Round, Run, Trial, check_types, content_hash
from planner.shape import Size

LEAST_ROOM = 1 << 20
"""Bytes below which a disk counts as full: less than one checkpoint or curve."""

_FOUND_BEFORE_THE_LOG = {"lock", "space.yaml", "check.json"}


class Ledger:
    """A study folder. ``Ledger.open`` locks it for writing, ``Ledger.read`` only looks.

    ``rounds`` are the decided rounds in order, ``runs`` the recorded run of each key (its
    ``spent_flops`` sums all attempts), ``prediction`` what was written before the held-out rung,
    ``repaired`` a sentence when the log's last line was cut by a crash (else empty), ``policies``
    the version of the policy that decided each round.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rounds: tuple[Round, ...] = ()
        self.runs: dict[str, Run] = {}
        self.prediction: dict[str, Any] | None = None
        self.repaired = ""
        self.policies: tuple[str, ...] = ()
        self._spend, self._deaths, self._losses = Spend(), Deaths(), Losses()
        self._trials = TrialIndex()
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
    def spent_flops(self) -> float:
        """FLOPs of every attempt that is over, recorded or not; not of those under way here."""
        return self._spend.total

    @property
    def device_seconds(self) -> float:
        """Wall seconds times devices of every attempt that is over, lost ones included."""
        return self._spend.device_seconds

    @property
    def losses(self) -> Mapping[str, int]:
        """How many attempts ended without a result, by the note that says why."""
        return +self._losses.counts

    @property
    def running(self) -> int:
        """How many attempts this process has started that are not over."""
        return len(self._clocks)

    def attempts(self, key: str) -> int:
        """Return the number of the newest attempt at a trial; 0 before the first."""
        return self._spend.newest(key)

    def deaths(self, key: str) -> tuple[int, str]:
        """Return a trial's deaths on end that brought it no further, and the last one's note."""
        return self._deaths.of(key)

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that have asked for trials, in the order they came."""
        return self._trials.stages

    def stage_keys(self, stage: str) -> tuple[str, ...]:
        """Return the keys of the recorded runs a stage asked for, in the order it asked.

        A run two stages asked for belongs to both, whichever was first.
        """
        return self._trials.recorded(stage, self.runs)

    def hash(self) -> str:
        """Hash what was decided and found, whatever the order, hosts, times and retries."""
        return content_hash(what_counts(self.rounds, self.runs))

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

    def _apply(self, event: Mapping[str, Any]) -> None:
        if "attempt" in event:
            check_types(event, {"key": str, "attempt": int})
        self._deaths.see(event)
        self._losses.see(event)
        match event["event"]:
            case "study":
                pass
            case "decided":
                self._decide(event["round"], str(event.get("policy", "")))
            case "started" | "progress" | "lost":
                self._spend.see(event)
            case "ended":
                self._record(event["run"])
            case "predicted":
                self.prediction = dict(event["prediction"])
            case kind:
                raise ValueError(f"there is no event {kind!r}")

    def _decide(self, data: Mapping[str, Any], policy: str) -> None:
        trials = tuple(self._trials.see(trial) for trial in data["trials"])
        self.rounds += (Round(data["number"], data["stage"], trials, data["why"]),)
        self.policies += (policy,)

    def _record(self, data: Mapping[str, Any]) -> None:
        run = self._trials.shared(Run.from_json(data, self._trials.see(data["trial"])))
        if self._is_news(run):
            self.runs[run.key] = run
        self._spend.pay(run.key, run.attempt, run.spent_flops, run.seconds)
        if run.key in self.runs:
            total = self._spend.of(run.key)
            if total != run.spent_flops:
                self.runs[run.key] = replace(self.runs[run.key], spent_flops=total)

    def _is_news(self, run: Run) -> bool:
        return run.key not in self.runs and run.attempt >= self.attempts(run.key)
