"""The scaling ladder: one trunk per size and factor of four in horizon, one cooldown per horizon.

A trunk is trained once at a constant learning rate; each horizon branches off it and decays, so a
ladder of horizons costs little more than its longest run (science D3). What a trunk is trained with
is :func:`planner.decide.hyper.trunk_hyper`'s to say.
"""

from __future__ import annotations

from collections.abc import Iterator

from planner.decide.hyper import rung_hyper, trunk_hyper
from planner.fit.hyper_fit import HyperFit
from planner.run import Trial
from planner.sweep.cells import Cell, by_size, trunk_groups
from planner.sweep.stages.proposal import Proposal
from planner.sweep.state import StudyState
from planner.sweep.trials import fork_of, trial_of, trunk_of

STAGE = "ladder"


def propose(state: StudyState) -> Proposal | None:
    """Ask for the trunks (and the lone runs), then for the forks of the trunks that stand."""
    if not state.space.stages.ladder:
        return None
    rounds = state.asked(STAGE)
    groups = list(_groups(state))
    if not rounds:
        hyper = state.hyper
        trials = tuple(_first_trial(state, hyper, group) for group in groups)
        return Proposal(trials, "the ladder's trunks: every size to its longest horizon")
    if len(rounds) > 1:
        return None
    forks: list[Trial] = []
    for group, trunk in zip(groups, rounds[0], strict=True):
        if len(group) == 1:
            continue
        run = state.runs.get(state.key(trunk))
        if run is not None and run.done:
            forks += [fork_of(trunk, run.key, cell.tokens) for cell in group]
    return Proposal(tuple(forks), "cooldowns off the trunks at every horizon") if forks else None


def _groups(state: StudyState) -> Iterator[list[Cell]]:
    forks = state.space.horizons.forks and "fork" in state.proxy.capabilities
    for cells in by_size(state.layout.ladder):
        yield from trunk_groups(cells, forks)


def _first_trial(state: StudyState, fit: HyperFit, group: list[Cell]) -> Trial:
    """Make a trunk for a group of horizons, or the whole run for a lone one."""
    horizons = [cell.tokens for cell in group]
    size, least = group[0].size, state.min_batch_tokens
    if len(group) == 1:
        alone = rung_hyper(fit, size, horizons[0], min_batch_tokens=least)
        return trial_of(STAGE, group[0], alone, seed=state.space.seed)
    shared = trunk_hyper(fit, size, horizons, min_batch_tokens=least)
    return trunk_of(trial_of(STAGE, group[0], shared, seed=state.space.seed), horizons)
