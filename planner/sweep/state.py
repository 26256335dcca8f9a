"""What a stage may look at: the space, the layout, everything that has ended. No clock, no disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from planner.decide.evidence import fit_hyper_of
from planner.fit.held_out import Prediction
from planner.fit.transfer import HyperFit
from planner.proxy import Proxy, TransformerProxy
from planner.run import Round, Run, Trial
from planner.space import SearchSpace
from planner.sweep.layout import Layout


@dataclass(frozen=True)
class StudyState:
    """The ledger as the policy sees it; ``runs`` maps keys to the runs that have ended."""

    space: SearchSpace
    proxy: Proxy
    recipe: Mapping[str, Any]
    layout: Layout
    rounds: tuple[Round, ...]
    runs: Mapping[str, Run]
    prediction: Prediction | None = None

    def key(self, trial: Trial) -> str:
        """Return the trial's key under this study's recipe."""
        return trial.key(self.recipe)

    def cost(self, trial: Trial) -> float:
        """Return the FLOPs a trial is to spend: a fork's branch only."""
        return self.proxy.size(trial.shape).flops(trial.new_tokens)

    def rounds_of(self, stage: str) -> tuple[Round, ...]:
        """Return the rounds a stage has proposed."""
        return tuple(entry for entry in self.rounds if entry.stage == stage)

    def runs_of(self, stage: str) -> tuple[Run, ...]:
        """Return the runs a stage asked for, also those another stage had made before."""
        trials = [trial for entry in self.rounds_of(stage) for trial in entry.trials]
        found = [self.runs.get(self.key(trial)) for trial in trials]
        return tuple(run for run in found if run is not None)

    @property
    def hyper(self) -> HyperFit:
        """What the runs so far say of learning rate, batch, warmup and weight decay."""
        return fit_hyper_of(self.runs_by_stage, self.recipe.get("parametrization", "sp"))

    @property
    def runs_by_stage(self) -> dict[str, tuple[Run, ...]]:
        """Every stage's runs, in the order the stages came."""
        return {entry.stage: self.runs_of(entry.stage) for entry in self.rounds}

    @property
    def transformer(self) -> TransformerProxy | None:
        """The proxy, if its shapes are transformers."""
        return cast(TransformerProxy, self.proxy) if hasattr(self.proxy, "model_shape") else None

    @property
    def min_batch_tokens(self) -> int:
        """One sequence, the smallest batch there is; 1 for a black box."""
        if self.transformer is None:
            return 1
        return self.transformer.model_shape(self.layout.anchor.shape).context
