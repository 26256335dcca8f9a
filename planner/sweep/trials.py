"""From a cell and hyperparameters to a trial: everything a stage proposes is made here.

Every trial of a study follows one recipe: warmup, constant, 1-sqrt cooldown over the last fifth
(WSD), weight decay, beta2 and clip by the rules of ``planner.decide.hyper``. Learning rates lie on
the lattice 2^(i/4), batches are powers of two, tokens whole steps (contracts.md section 2).
"""

from __future__ import annotations

from dataclasses import replace

from planner.decide.hyper import RungHyper, rules_at, snap_lr
from planner.run import Schedule, Trial
from planner.sweep.cells import Cell
from planner.sweep.state import StudyState

DECAY_RATIO = 0.2
"""Cooldown's share of a run (science D1: a fifth suffices)."""


def swept_trial(
    state: StudyState, stage: str, cell: Cell, *, batch_tokens: int, lr: float
) -> Trial:
    """Make a trial whose batch and lr are chosen by a grid; the rest follows the rules."""
    hyper = rules_at(cell.size, cell.tokens, batch_tokens=batch_tokens, lr=snap_lr(lr))
    return trial_of(stage, cell, hyper, seed=state.space.seed)


def trial_of(stage: str, cell: Cell, hyper: RungHyper, *, seed: int) -> Trial:
    """Make the trial of a cell under given hyperparameters, decayed to zero."""
    return Trial(
        stage=stage,
        shape=cell.shape,
        tokens=whole_steps(cell.tokens, hyper.batch_tokens),
        batch_tokens=hyper.batch_tokens,
        lr=hyper.lr,
        warmup_tokens=whole_steps(hyper.warmup_tokens, hyper.batch_tokens),
        schedule=Schedule("wsd", DECAY_RATIO),
        weight_decay=hyper.weight_decay,
        beta2=hyper.beta2,
        clip=hyper.clip,
        seed=seed,
    )


def trunk_of(whole: Trial, horizons: list[int]) -> Trial:
    """Cut a trial before its cooldown: a constant-lr trunk that keeps a checkpoint per horizon."""
    keep = tuple(sorted(fork_point(tokens, whole.batch_tokens) for tokens in horizons))
    return replace(whole, tokens=keep[-1], schedule=Schedule("constant"), keep_at=keep)


def fork_of(trunk: Trial, trunk_key: str, tokens: int) -> Trial:
    """Branch off a trunk: the cooldown that ends at ``tokens``."""
    tokens = whole_steps(tokens, trunk.batch_tokens)
    fork_at = fork_point(tokens, trunk.batch_tokens)
    return replace(
        trunk,
        tokens=tokens,
        schedule=Schedule("wsd", 1 - fork_at / tokens),
        parent=trunk_key,
        fork_at=fork_at,
        keep_at=(),
    )


def fork_point(tokens: int, batch_tokens: int) -> int:
    """Return where the cooldown towards ``tokens`` begins, in whole steps."""
    return whole_steps(whole_steps(tokens, batch_tokens) * (1 - DECAY_RATIO), batch_tokens)


def whole_steps(tokens: float, batch_tokens: int) -> int:
    """Round tokens to whole optimizer steps, at least one."""
    return max(1, round(tokens / batch_tokens)) * batch_tokens
