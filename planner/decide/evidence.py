"""Which runs answer which question: the loss law learns from the ladder, lr and batch from grids.

Losses of off-optimum grid points, of undecayed trunks and of range tests never enter the loss law.
The held-out rung enters only after it has been judged, and it has been judged once it has run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from planner.fit.decay import fit_decay
from planner.fit.engine import fit_loss
from planner.fit.held_out import Judgement, Prediction, judge
from planner.fit.loss_fit import LossFit
from planner.fit.transfer import HyperFit, fit_hyper
from planner.observations import Observations
from planner.run import Run

RunsByStage = Mapping[str, Sequence[Run]]

LOSS_STAGES = ("ladder", "held_out")
HYPER_STAGES = ("lr_batch", "seeds", "confirm", "warmup")
DECAY_STAGES = ("lr_batch", "seeds", "weight_decay")


def fit_hyper_of(runs: RunsByStage) -> HyperFit:
    """Fit learning rate, batch, warmup and weight decay; prior only when there are no grids.

    Runs that vary the weight decay would blur the learning rate's basin, so they stay out of it.
    """
    hyper = fit_hyper(_pick(runs, HYPER_STAGES))
    return replace(hyper, decay=fit_decay(_pick(runs, DECAY_STAGES), sigma=hyper.sigma_seed))


def fit_loss_of(runs: RunsByStage, judgement: Judgement | None = None) -> LossFit:
    """Fit the loss law to the decayed ladder; a failed held-out rung widens every interval.

    A ladder of one seed has residuals smaller than the noise of a run, because its runs share
    their data's order; where seeds were repeated, a single run is predicted with what they show.
    Raises EvidenceError when the ladder holds too little for a law.
    """
    observations = Observations.from_runs(loss_runs(runs))
    fit, hyper = fit_loss(observations), fit_hyper_of(runs)
    if hyper.seed_noise is not None:
        seeds = hyper.sigma_seed / float(np.median(observations.loss))
        fit = replace(fit, sigma=max(fit.sigma, seeds))
    return fit if judgement is None else fit.widened(judgement.widen)


def loss_runs(runs: RunsByStage) -> list[Run]:
    """Return the runs whose losses the law may learn from: the ladder's and the rung's, decayed."""
    return [run for run in _pick(runs, LOSS_STAGES) if run.trial.schedule.name != "constant"]


def judge_held_out(
    prediction: Prediction | None, runs: RunsByStage, sigma: float
) -> Judgement | None:
    """Hold the prediction against the rung; None while the rung has not run to its end."""
    measured = {run.size.params_matmul: run.loss for run in runs.get("held_out", ()) if run.done}
    if prediction is None or len(measured) < len(prediction.rungs):
        return None
    return judge(prediction, [measured[rung.params] for rung in prediction.rungs], sigma)


def _pick(runs: RunsByStage, stages: Sequence[str]) -> list[Run]:
    """Collect the stages' runs, each once, in a fixed order."""
    found = {run.key: run for stage in stages for run in runs.get(stage, ())}
    return list(found.values())
