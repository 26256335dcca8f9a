"""A study's log folded round by round, as far as a status needs it: no runs, no trials, no keys.

Progress of an attempt that has an end changes nothing any more, and is never decoded.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from planner._spend import Spend
from planner._trials import mark_of
from planner.sweep.gauge import Gauge


@dataclass(slots=True)
class Tally:
    """One round: what it asked, how far it is, what it used and found."""

    number: int
    stage: str
    why: str
    trials: int
    ended: int = 0
    flops: float = 0.0
    seconds: float = 0.0
    best: float | None = None

    def to_json(self, known: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the round as plain data; ``known`` is what it left in doubt."""
        return {
            "round": self.number,
            "stage": self.stage,
            "trials": self.trials,
            "ended": self.ended,
            "spent_flops": self.flops,
            "trial_seconds": self.seconds,
            "best_loss_nats": self.best,
            "left": known,
        }


@dataclass
class Fold:
    """The state of a log as far as a status needs it."""

    gauge: Gauge
    rounds: list[Tally] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    trial_seconds: float = 0.0
    failure: str = ""
    prediction: Mapping[str, Any] | None = None
    spend: Spend = field(default_factory=Spend)
    _asked: dict[int, int] = field(default_factory=dict)
    _again: dict[int, list[int]] = field(default_factory=dict)
    _progress: dict[bytes, bytes] = field(default_factory=dict)
    _keys: set[str] = field(default_factory=set)
    _marks: set[int] = field(default_factory=set)

    def later(self, line: bytes) -> bool:
        """Keep a line of progress undecoded: only those of attempts without an end tell more."""
        begin, end = line.find(b'"key":"'), line.find(b',"tokens":')
        if b'"resumed":true' in line or not 0 < begin < end:
            return False
        self._progress[line[begin + 7 : end]] = line
        return True

    def finish(self) -> None:
        """Take in the progress of attempts that have no end."""
        for line in self._progress.values():
            self.apply(json.loads(line))
        self._progress.clear()

    def apply(self, event: Mapping[str, Any]) -> None:
        """Take in one event of the log. Raises KeyError, TypeError or ValueError for a bad one."""
        match event["event"]:
            case "study":
                pass
            case "progress":
                reached = int(event["tokens"]), float(event.get("seconds", 0))
                self.spend.reach(event["key"], event["attempt"], *reached)
            case "started":
                tokens = (int(event["fork_at"]), int(event["tokens"]))
                cost = float(event["flops_per_token"]), float(event.get("devices", 1))
                self.spend.start(event["key"], event["attempt"], tokens, *cost)
            case "lost":
                if line := self._progress.pop(_attempt(event["key"], event["attempt"]), None):
                    self.apply(json.loads(line))
                self.spend.lose(event["key"], event["attempt"], event.get("seconds"))
                self.lost += 1
            case "ended":
                self._end(event["run"])
            case "decided":
                self._decide(event["round"])
            case "predicted":
                self.prediction = event["prediction"]
            case kind:
                raise ValueError(f"there is no event {kind!r}")

    def _decide(self, data: Mapping[str, Any]) -> None:
        trials = data["trials"]
        tally = Tally(data["number"], data["stage"], data["why"], len(trials))
        place = len(self.rounds)
        for mark in map(mark_of, trials):
            tally.ended += mark in self._marks
            if self._asked.setdefault(mark, place) != place:
                self._again.setdefault(mark, []).append(place)
        self.rounds.append(tally)
        self.gauge.decided({trial["stage"] for trial in trials})

    def _end(self, run: Mapping[str, Any]) -> None:
        key, flops, seconds = run["key"], float(run["spent_flops"]), float(run["seconds"])
        news = key not in self._keys and run["attempt"] >= self.spend.newest(key)
        self._progress.pop(_attempt(key, run["attempt"]), None)
        self.spend.pay(key, run["attempt"], flops, seconds)
        trial = run["trial"]
        self.gauge.ended(trial["stage"], flops, seconds)
        if not news:
            return
        mark = mark_of(trial)
        self._keys.add(key)
        self._marks.add(mark)
        self.counts[run["status"]] += 1
        self.trial_seconds += seconds
        if run["status"] == "failed" and not self.failure:
            self.failure = (run.get("note", "").strip().splitlines() or ["no note"])[-1]
        first = self.rounds[self._asked[mark]]
        first.flops += self.spend.of(key)
        first.seconds += seconds
        _keep_best(first, run)
        for tally in (first, *(self.rounds[place] for place in self._again.get(mark, ()))):
            tally.ended += 1


def _attempt(key: str, number: int) -> bytes:
    """Return how a line of progress names an attempt."""
    return b'%s","attempt":%d' % (key.encode(), number)


def _keep_best(tally: Tally, run: Mapping[str, Any]) -> None:
    """Keep the lowest decayed loss of a round."""
    if run["status"] == "done" and run["trial"]["schedule"]["name"] == "wsd":
        loss = float(run["loss"])
        tally.best = loss if tally.best is None else min(tally.best, loss)
