"""What a report is made of: a plan and its fit, and whatever of the study lies behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from planner.decide.evidence import LOSS_STAGES, tuned
from planner.decide.schedule import ScheduleEvidence
from planner.decide.standing import Standing
from planner.fit.held_out import Judgement, Prediction
from planner.fit.hyper_fit import HyperFit
from planner.fit.loss_fit import LossFit
from planner.observations import Observations
from planner.plan.plan import Plan
from planner.run import Run


@dataclass(frozen=True, slots=True)
class StageSummary:
    """One round as the evidence table shows it: why it was run, its trials and what they cost.

    ``left`` is what it left in doubt at the target, where the sweep has noted it.
    """

    stage: str
    why: str
    trials: int
    spent_flops: float
    left: Standing | None = None


@dataclass(frozen=True)
class ReportInput:
    """Everything a report may show; only title, plan and fit are needed.

    ``observations`` are the rows of a plain table the law was fitted to; a study has ``runs``
    instead. ``stage_of`` maps a run's key to the stage that asked for it, ``rounds`` are in
    order, ``recipe`` is the proxy's share of every trial key, ``losses`` counts the
    attempts without a result by what ended them. Figures and sections whose data is
    absent are replaced by a sentence that says so.
    """

    title: str
    plan: Plan
    fit: LossFit
    observations: Observations | None = None
    hyper: HyperFit | None = None
    runs: tuple[Run, ...] = ()
    stage_of: Mapping[str, str] = field(default_factory=dict)
    prediction: Prediction | None = None
    judgement: Judgement | None = None
    rounds: tuple[StageSummary, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)
    schedule: ScheduleEvidence | None = None
    losses: Mapping[str, int] = field(default_factory=dict)

    @property
    def fitted(self) -> Observations | None:
        """The runs the law was fitted to; None when the report was made from a bare plan."""
        if self.observations is not None or not self.runs:
            return self.observations
        unjudged = "held_out" if self.judgement is None else ""
        ladder = self.in_stage(*(stage for stage in LOSS_STAGES if stage != unjudged))
        decayed = [run for run in ladder if run.trial.schedule.name != "constant"]
        return Observations.from_runs(tuned(decayed, self.hyper) if self.hyper else decayed)

    def stage(self, run: Run) -> str:
        """Return the stage a run belongs to."""
        return self.stage_of.get(run.key, run.trial.stage)

    def in_stage(self, *stages: str) -> tuple[Run, ...]:
        """Return the runs of some stages, in the order they were recorded."""
        return tuple(run for run in self.runs if self.stage(run) in stages)
