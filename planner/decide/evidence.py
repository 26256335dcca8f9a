"""Which runs answer which question: the loss law learns from the ladder, lr and batch from grids.

Losses of off-optimum grid points, of undecayed trunks and of range tests never enter the loss law.
The held-out rung enters only after it has been judged, and it has been judged once it has run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from planner.finding import Finding, Severity
from planner.fit.decay import fit_decay
from planner.fit.engine import fit_loss
from planner.fit.held_out import Judgement, Prediction, judge
from planner.fit.hyper_fit import HyperFit
from planner.fit.loss_fit import LossFit
from planner.fit.transfer import fit_hyper
from planner.observations import Observations
from planner.run import Run
from planner.words import NO_RECIPE

RunsByStage = Mapping[str, Sequence[Run]]

CHANCE = 2.0
"""Times the replicates' scatter up to which that about the law is taken for chance."""

LOSS_STAGES = ("ladder", "held_out")
HYPER_STAGES = ("lr_batch", "seeds", "confirm", "design", "warmup")
DECAY_STAGES = ("lr_batch", "seeds", "weight_decay")


def fit_hyper_of(runs: RunsByStage, recipe: Mapping[str, Any] = NO_RECIPE) -> HyperFit:
    """Fit learning rate, batch, warmup and weight decay; prior only when there are no grids.

    ``recipe`` names parametrisation, unit and optimizer, and with them the beliefs that hold.
    Runs that vary the weight decay would blur the learning rate's basin, so they stay out of it.
    """
    hyper = fit_hyper(hyper_runs(runs), joint=bool(runs.get("design")), recipe=recipe)
    return replace(hyper, decay=fit_decay(_pick(runs, DECAY_STAGES), sigma=hyper.sigma_seed))


def hyper_runs(runs: RunsByStage) -> list[Run]:
    """Return the runs that speak of learning rate, batch and warmup."""
    return _pick(runs, HYPER_STAGES)


def fit_loss_of(runs: RunsByStage, hyper: HyperFit, judgement: Judgement | None = None) -> LossFit:
    """Fit the loss law to the decayed ladder; a failed held-out rung widens every interval.

    A ladder of one seed has residuals smaller than the noise of a run, because its runs share
    their data's order; where seeds were repeated, a single run is predicted with what they show.
    Raises EvidenceError when the ladder holds too little for a law.
    """
    observations = Observations.from_runs(tuned(loss_runs(runs), hyper))
    fit = fit_loss(observations)
    if (unique := _whole_data(observations)) is not None:
        fit = replace(fit, unique_tokens=unique)
    if hyper.seed_noise is not None:
        seeds = hyper.sigma_seed / float(np.median(observations.loss))
        told = tuple(_beside_seeds(found, fit.sigma, seeds) for found in fit.findings)
        fit = replace(fit, sigma=max(fit.sigma, seeds), findings=told)
    return fit if judgement is None else fit.widened(judgement.widen)


def _beside_seeds(found: Finding, scatter: float, seeds: float) -> Finding:
    """Hold the doubt about scatter against what own replicates show; both are sd of ln loss."""
    if found.code != "large-scatter":
        return found
    what = (
        f"The runs scatter {scatter:.1%} about the law; runs repeated with other seeds scatter "
        f"{seeds:.1%}"
    )
    if scatter > CHANCE * seeds:
        return replace(found, what=f"{what}: another column decides the rest, or the law's form.")
    return Finding(
        found.code,
        Severity.INFO,
        f"{what}: mostly chance, which the intervals hold.",
        "longer or wider runs, whose losses hang less on their seeds",
    )


def _whole_data(observations: Observations) -> float | None:
    """Return the distinct tokens of the study's data, where its runs varied how much they saw."""
    known = observations.unique_tokens[np.isfinite(observations.unique_tokens)]
    return float(known.max()) if len(np.unique(known)) > 1 else None


def loss_runs(runs: RunsByStage) -> list[Run]:
    """Return the runs whose losses the law may learn from: the ladder's and the rung's, decayed."""
    return [run for run in _pick(runs, LOSS_STAGES) if run.trial.schedule.name != "constant"]


def tuned(runs: Sequence[Run], hyper: HyperFit) -> list[Run]:
    """Return runs as they would have ended at their own best lr and batch, as far as it is known.

    The branches of one trunk share its batch and learning rate, which are right for one horizon:
    the others' losses are biased upwards, and the exponents and N* with them (science H).
    """
    return [
        replace(
            run,
            loss=run.loss
            - hyper.known_regret(run.size, run.tokens, run.trial.batch_tokens, run.trial.lr),
        )
        for run in runs
    ]


def judge_held_out(
    prediction: Prediction | None, runs: RunsByStage, sigma: float
) -> Judgement | None:
    """Hold the prediction against the rung; None while the rung has not run to its end."""
    ended = [run for run in runs.get("held_out", ()) if run.done and math.isfinite(run.loss)]
    measured = {run.size.params_matmul: run.loss for run in ended}
    if prediction is None or len(measured) < len(prediction.rungs):
        return None
    return judge(prediction, [measured[rung.params] for rung in prediction.rungs], sigma)


def _pick(runs: RunsByStage, stages: Sequence[str]) -> list[Run]:
    """Collect the stages' runs, each once, in a fixed order."""
    found = {run.key: run for stage in stages for run in runs.get(stage, ())}
    return list(found.values())
