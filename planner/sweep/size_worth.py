"""What further runs of a ladder would tell of the best size at the target, and what that is worth.

    saves = (alpha^2 a + beta^2 b) / 2 * the variance of ln N* that a run takes away      (nats)

a and b are the law's terms at the target's optimum: half the curvature of the loss over ln N at
equal C, so that ``saves`` is the loss an error of N* costs on average. Beliefs are those of
:mod:`planner.fit.drifting`, candidates every size and horizon of the space that suits a ladder, at
most DEARER times its dearest run; where such a run exists, another seed of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.arrays import Floats
from planner.decide.evidence import loss_runs, tuned
from planner.decide.hyper import rung_hyper
from planner.fit.drifting import Drifting, drifting
from planner.fit.laws import optimal_params
from planner.run import UNIQUE, Run
from planner.sweep.cells import Cell, cells_of
from planner.sweep.draws import Outlook, most_telling
from planner.sweep.layout import MIN_CELLS, in_ladder
from planner.sweep.state import StudyState
from planner.sweep.trials import trial_of
from planner.sweep.worth import DEFAULT_REACH, NATS_PER_EFOLD, SHOWN, Worth

DEARER = 4.0
"""A further rung may cost so many times the ladder's dearest run: a factor of four is a rung."""


@dataclass(frozen=True)
class _Rows:
    """Runs or candidates as a law of N and D reads them, arrays (n,); C = 6 N D."""

    params: Floats
    tokens: Floats

    @property
    def flops(self) -> Floats:
        """6 N D."""
        return np.asarray(6.0 * self.params * self.tokens)


def further_sizes(state: StudyState) -> list[Worth]:
    """Rank what a study could train next for the target's size: SHOWN runs, best first.

    Empty before there is a ladder to improve on.
    """
    ended = [run for run in loss_runs(state.runs_by_stage) if run.done]
    runs = [run for run in ended if UNIQUE not in run.trial.shape]
    if len(runs) < MIN_CELLS:
        return []
    cells = _candidates(state)
    offer = _rows([(cell.size.params_matmul, cell.tokens) for cell in cells])
    belief = _belief(state, runs)
    target = belief.target_flops
    log_best = np.log(optimal_params(belief.theta, target))[:, None]
    outlook = Outlook(belief.log_loss(offer), log_best, belief.noise(offer))
    flops = np.array([cell.flops for cell in cells])
    half, price = _curvature(belief) / 2, target / NATS_PER_EFOLD
    seed = max(run.trial.seed for run in runs) + 1
    found = []
    for gain in most_telling(outlook, flops, SHOWN):
        cell, saves = cells[gain.row], half * gain.variance
        least = state.min_batch_tokens
        hyper = rung_hyper(state.hyper, cell.size, cell.tokens, min_batch_tokens=least)
        trial = trial_of("ladder", cell, hyper, seed=seed)
        found.append(Worth((trial,), cell.flops, saves, saves * price))
    return found


def _belief(state: StudyState, runs: list[Run]) -> Drifting:
    """Return what the ladder says, its losses as at their own best lr and batch."""
    best = tuned(runs, state.hyper)
    seen = _rows([(run.size.params_matmul, run.tokens) for run in best])
    loss = np.array([run.loss for run in best])
    target = state.space.target.get("flops") or DEFAULT_REACH * state.layout.c_max
    noise = state.hyper.sigma_seed / float(np.median(loss))
    return drifting(seen, loss, target, noise)


def _candidates(state: StudyState) -> list[Cell]:
    most = DEARER * state.layout.c_max
    cells = cells_of(state.space, state.proxy)
    return [cell for cell in cells if cell.flops <= most and in_ladder(cell)]


def _rows(places: list[tuple[float, int]]) -> _Rows:
    params, tokens = np.array(places, dtype=np.float64).T
    return _Rows(params, tokens)


def _curvature(belief: Drifting) -> float:
    """Return d2L / d(ln N)2 at the target's C and best size, the median of the draws."""
    _, a, b, alpha, beta = belief.theta.T
    best = optimal_params(belief.theta, belief.target_flops)
    tokens = belief.target_flops / 6.0 / best
    return float(np.median(alpha**2 * a * best**-alpha + beta**2 * b * tokens**-beta))
