"""What a study's log says: the fold of its events, and of nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from planner._deaths import Deaths
from planner._derived import study_hash
from planner._losses import Losses
from planner._spend import Spend
from planner._trials import TrialIndex
from planner.run import Round, Run, check_types


class LogState:
    """The state of a log, event by event.

    ``rounds`` are the decided rounds in order, ``runs`` the recorded run of each key (its
    ``spent_flops`` sums all attempts), ``prediction`` what was written before the held-out rung,
    ``policies`` the version of the policy that decided each round.
    """

    def __init__(self) -> None:
        self.rounds: tuple[Round, ...] = ()
        self.runs: dict[str, Run] = {}
        self.prediction: dict[str, Any] | None = None
        self.policies: tuple[str, ...] = ()
        self._spend, self._deaths, self._losses = Spend(), Deaths(), Losses()
        self._trials = TrialIndex()

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
        return study_hash(self.rounds, self.runs)

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
