"""What a stage may look at: the space, the layout, everything that has ended. No clock, no disk."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

from planner.decide.evidence import (
    DECAY_STAGES,
    HYPER_STAGES,
    RunsByStage,
    fit_hyper_of,
    fit_loss_of,
)
from planner.fit.held_out import Prediction
from planner.fit.hyper_fit import HyperFit
from planner.fit.loss_fit import LossFit
from planner.proxy import Proxy, TransformerProxy
from planner.run import Round, Run, Trial
from planner.space import SearchSpace
from planner.sweep.layout import Layout


class Memory:
    """What the states of one study need not work out twice: keys of rounds, and the last fit.

    Everything in it follows from what it is asked with; it decides nothing.
    """

    def __init__(self) -> None:
        self._keys: dict[int, tuple[Round, tuple[str, ...]]] = {}
        self._trials: tuple[Mapping[str, Run], dict[int, str]] = {}, {}
        self._hyper: tuple[object, HyperFit] | None = None
        self._loss: tuple[object, LossFit] | None = None

    def keys(
        self, entry: Round, recipe: Mapping[str, Any], runs: Mapping[str, Run]
    ) -> tuple[str, ...]:
        """Return the keys of a round's trials: as ``runs`` say, else each hashed once.

        A trial of a round and that of its run are one object in a ledger; where they are not, the
        key is worked out.
        """
        known = self._keys.get(id(entry))
        if known is None or known[0] is not entry:
            told = self._told(runs)
            keys = (told.get(id(trial)) or sys.intern(trial.key(recipe)) for trial in entry.trials)
            known = self._keys[id(entry)] = entry, tuple(keys)
        return known[1]

    def _told(self, runs: Mapping[str, Run]) -> dict[int, str]:
        """Return the key of every run's trial by the trial's identity."""
        if self._trials[0] is not runs or len(self._trials[1]) != len(runs):
            self._trials = runs, {id(run.trial): key for key, run in runs.items()}
        return self._trials[1]

    def hyper(self, runs: RunsByStage, parametrization: str) -> HyperFit:
        """Fit learning rate and batch, unless these very runs were fitted last."""
        asked = _keys(runs)
        if self._hyper is None or self._hyper[0] != asked:
            self._hyper = asked, fit_hyper_of(runs, parametrization)
        return self._hyper[1]

    def loss(self, runs: RunsByStage, hyper: HyperFit) -> LossFit:
        """Fit the loss law, unless these very runs were fitted last; or EvidenceError."""
        asked = _keys(runs), id(hyper)
        if self._loss is None or self._loss[0] != asked:
            self._loss = asked, fit_loss_of(runs, hyper)
        return self._loss[1]


def _keys(runs: RunsByStage) -> dict[str, tuple[str, ...]]:
    return {stage: tuple(run.key for run in ended) for stage, ended in runs.items()}


@dataclass(frozen=True)
class StudyState:
    """The ledger as the policy sees it; ``runs`` maps keys to the runs that have ended.

    A round may hold trials of several stages; each trial names its own. States of one study share
    their ``memory``.
    """

    space: SearchSpace
    proxy: Proxy
    recipe: Mapping[str, Any]
    layout: Layout
    rounds: tuple[Round, ...]
    runs: Mapping[str, Run]
    prediction: Prediction | None = None
    memory: Memory = field(default_factory=Memory, repr=False, compare=False)

    def key(self, trial: Trial) -> str:
        """Return the trial's key under this study's recipe."""
        return trial.key(self.recipe)

    def keys_of(self, entry: Round) -> tuple[str, ...]:
        """Return the keys of a round's trials."""
        return self.memory.keys(entry, self.recipe, self.runs)

    def cost(self, trial: Trial) -> float:
        """Return the FLOPs a trial is to spend: a fork's branch only."""
        return self.proxy.size(trial.shape).flops(trial.new_tokens)

    def asked(self, stage: str) -> tuple[tuple[Trial, ...], ...]:
        """Return the trials a stage has asked for, round by round."""
        return self._asked.get(stage, ())

    def runs_of(self, stage: str) -> tuple[Run, ...]:
        """Return the runs a stage asked for, also those another stage had made before."""
        return self.runs_by_stage.get(stage, ())

    @property
    def hyper(self) -> HyperFit:
        """What the runs so far say of learning rate, batch, warmup and weight decay."""
        speak = {stage: self.runs_of(stage) for stage in (*HYPER_STAGES, *DECAY_STAGES)}
        return self.memory.hyper(speak, self.recipe.get("parametrization", "sp"))

    @property
    def loss(self) -> LossFit:
        """The law of the decayed ladder. Raises EvidenceError when it holds too little for one."""
        return self.memory.loss(self.runs_by_stage, self.hyper)

    @cached_property
    def runs_by_stage(self) -> dict[str, tuple[Run, ...]]:
        """Every stage's runs, in the order the stages came."""
        found: dict[str, list[Run]] = {}
        for entry in self.rounds:
            for trial, key in zip(entry.trials, self.keys_of(entry), strict=True):
                runs = found.setdefault(trial.stage, [])
                if key in self.runs:
                    runs.append(self.runs[key])
        return {stage: tuple(runs) for stage, runs in found.items()}

    @cached_property
    def _asked(self) -> dict[str, tuple[tuple[Trial, ...], ...]]:
        found: dict[str, tuple[tuple[Trial, ...], ...]] = {}
        for entry in self.rounds:
            for stage in dict.fromkeys(trial.stage for trial in entry.trials):
                trials = tuple(trial for trial in entry.trials if trial.stage == stage)
                found[stage] = (*found.get(stage, ()), trials)
        return found

    @property
    def transformer(self) -> TransformerProxy | None:
        """The proxy, if its shapes are transformers."""
        return cast(TransformerProxy, self.proxy) if hasattr(self.proxy, "model_shape") else None

    @cached_property
    def min_batch_tokens(self) -> int:
        """One sequence, the smallest batch there is; 1 for a black box."""
        if self.transformer is None:
            return 1
        return self.transformer.model_shape(self.layout.anchor.shape).context
