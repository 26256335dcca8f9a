"""The held-out decision rung: N*/2, N* and 2 N* at one C beyond the ladder, predicted beforehand.

The prediction (losses, intervals, which size wins) is written to the ledger with its hash before a
single token of the rung is trained; ``planner.fit.held_out.judge`` holds it against the outcome.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from planner.arrays import Floats
from planner.decide.allocate import best_size
from planner.decide.evidence import loss_runs
from planner.decide.hyper import rung_hyper
from planner.fit.held_out import Prediction, predict_held_out
from planner.fit.hyper_fit import HyperFit
from planner.proxy import Proxy
from planner.run import UNIQUE, Run
from planner.shape import ShapeFamily
from planner.sweep.cells import Cell
from planner.sweep.stages.proposal import Proposal
from planner.sweep.state import StudyState
from planner.sweep.trials import trial_of

STAGE = "held_out"


def predict(state: StudyState, ledger_hash: str) -> Prediction:
    """Choose the rung's sizes and predict their losses. Raises EvidenceError if no law holds."""
    fit = state.loss
    flops = state.layout.held_out_flops
    cells = _candidates(state, flops)
    sizes = [cell.size for cell in cells]
    best = best_size(fit, flops, sizes)
    middle = sizes[best].params_matmul
    count = state.space.stages.held_out.sizes if state.space.stages.held_out else 0
    wanted = [middle * 2.0 ** (i - (count - 1) / 2) for i in range(count)]
    chosen = _nearest_distinct(cells, wanted)
    rungs = [(cell.shape, cell.size.params_matmul, cell.tokens, cell.flops) for cell in chosen]
    hyper = state.hyper
    regret = _excess_regret(state, hyper, chosen, len(fit.draws))
    return predict_held_out(fit, rungs, ledger_hash, regret)


def propose(state: StudyState) -> Proposal | None:
    """Ask for the predicted rung, once; the prediction must be in the ledger first."""
    if state.prediction is None or state.asked(STAGE):
        return None
    fit = state.hyper
    trials = []
    for rung in state.prediction.rungs:
        cell = Cell(rung.shape, state.proxy.size(rung.shape), round(rung.tokens))
        hyper = rung_hyper(fit, cell.size, cell.tokens, min_batch_tokens=state.min_batch_tokens)
        trials.append(trial_of(STAGE, cell, hyper, seed=state.space.seed))
    return Proposal(tuple(trials), "the sizes round N* beyond the ladder, predicted beforehand")


def _excess_regret(state: StudyState, fit: HyperFit, cells: Sequence[Cell], draws: int) -> Floats:
    """Draw (draws, n) what the rung's lr and batch cost beyond what the ladder's already did.

    The law was fitted to runs that paid a regret of their own, less what was known of it; with one
    set of draws for both, what they share cancels, and what remains grows with the distance.
    Where basins become shallower, so did for the law what was paid.
    """
    ladder = [run for run in loss_runs(state.runs_by_stage) if run.trial.stage != STAGE]
    paid = [_unknown(fit, run, draws) / fit.depth(run.size, run.tokens) for run in ladder]
    rung = []
    for cell in cells:
        hyper = rung_hyper(fit, cell.size, cell.tokens, min_batch_tokens=state.min_batch_tokens)
        cost = fit.regret_draws(cell.size, cell.tokens, hyper.batch_tokens, hyper.lr, draws=draws)
        rung.append(cost - fit.depth(cell.size, cell.tokens) * np.mean(paid, axis=0))
    return np.stack(rung, axis=1)


def _unknown(fit: HyperFit, run: Run, draws: int) -> Floats:
    """Draw (draws,) what a run paid beyond what is known, and was taken off, nats."""
    at = run.size, run.tokens, run.trial.batch_tokens, run.trial.lr
    return np.asarray(fit.regret_draws(*at, draws=draws) - fit.known_regret(*at))


def _candidates(state: StudyState, flops: float) -> list[Cell]:
    """List every buildable size at the horizon that spends ``flops``, within the data there is."""
    ladder = [cell for cell in state.layout.ladder if UNIQUE not in cell.shape]
    proxy: Proxy = state.proxy
    if state.transformer is None:
        shapes = list({repr(cell.shape): cell.shape for cell in ladder}.values())
    else:
        known = [state.transformer.model_shape(cell.shape) for cell in ladder]
        family = ShapeFamily.of(known)
        smallest = min(shape.params_matmul for shape in known)
        largest = 16.0 * max(shape.params_matmul for shape in known)
        shapes = [
            {"width": shape.width, "depth": shape.layers}
            for shape in family.shapes(smallest, largest)
        ]
    sizes = [(shape, proxy.size(shape)) for shape in shapes]
    cells = [Cell(shape, size, int(flops / size.flops_per_token)) for shape, size in sizes]
    return [cell for cell in cells if cell.tokens <= state.layout.tokens_needed]


def _nearest_distinct(cells: list[Cell], wanted: list[float]) -> list[Cell]:
    """Pick for every wanted size the nearest cell in ratio, none twice, smallest first."""
    left = sorted(cells, key=lambda cell: cell.size.params_matmul)
    chosen: list[Cell] = []
    for params in wanted:
        if not left:
            break
        best = min(
            left,
            key=lambda cell: max(
                cell.size.params_matmul / params, params / cell.size.params_matmul
            ),
        )
        chosen.append(best)
        left = [cell for cell in left if cell.size.params_matmul > best.size.params_matmul]
    return chosen
