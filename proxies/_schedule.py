"""The learning rate of every step of a trial.

Step s of S, W of them warmup (linear, (s + 1) / W of the peak). After it, with x in [0, 1) the
share of the decay that lies behind and r the final ratio:

    constant 1      linear 1 - (1 - r) x      cosine r + (1 - r) (1 + cos pi x) / 2
    wsd      r + (1 - r) (1 - sqrt x) over the last decay_ratio of the steps, 1 before
    finder   r^(1 - s / (S - 1)), no warmup

1-sqrt cooldown: Hägele et al. 2024 (arXiv 2405.18392).
"""

from __future__ import annotations

import numpy as np

from planner.arrays import Floats
from planner.errors import SpaceError
from planner.run import Trial


def learning_rates(trial: Trial) -> Floats:
    """Return the learning rate of each step, shape (trial.steps,). Raises SpaceError."""
    schedule, step = trial.schedule, np.arange(trial.steps, dtype=np.float64)
    ratio = schedule.final_lr_ratio
    if schedule.name == "finder":
        _need(0 < ratio < 1, "the finder needs a final_lr_ratio between 0 and 1: where it starts")
        return np.asarray(trial.lr * ratio ** (1.0 - step / max(1, trial.steps - 1)))
    warmup = round(trial.warmup_tokens / trial.batch_tokens)
    rise = np.minimum(1.0, (step + 1) / max(1, warmup))
    start = cooldown_start(trial) if schedule.name == "wsd" else warmup
    behind = np.clip((step - start) / max(1, trial.steps - start), 0.0, 1.0)
    shapes = {
        "constant": np.ones_like(step),
        "linear": ratio + (1.0 - ratio) * (1.0 - behind),
        "cosine": ratio + (1.0 - ratio) * (1.0 + np.cos(np.pi * behind)) / 2.0,
        "wsd": ratio + (1.0 - ratio) * (1.0 - np.sqrt(behind)),
    }
    _need(
        schedule.name in shapes,
        f"there is no schedule {schedule.name!r}; known: {', '.join(shapes)}, finder",
    )
    return trial.lr * rise * shapes[schedule.name]


def cooldown_start(trial: Trial) -> int:
    """Return the step at which a wsd trial begins to cool down."""
    return trial.steps - round(trial.schedule.decay_ratio * trial.steps)


def _need(condition: bool, sentence: str) -> None:
    if not condition:
        raise SpaceError(sentence)


def check_batches(trial: Trial, context: int) -> None:
    """Raise SpaceError where a trial, its fork or its trunk is not whole batches of windows."""
    if trial.batch_tokens % context or trial.steps < 1:
        raise SpaceError(
            f"a batch of {trial.batch_tokens:,} tokens in a run of {trial.tokens:,} cannot be: "
            f"batches are whole windows of context {context}, and a run at least one batch"
        )
    marks = (trial.fork_at, *trial.keep_at)
    if any(tokens % trial.batch_tokens for tokens in marks):
        raise SpaceError(
            f"fork_at and keep_at {marks} must be whole batches of {trial.batch_tokens:,}"
        )
    cools = cooldown_start(trial) if trial.schedule.name == "wsd" else trial.steps
    if trial.parent is not None and cools * trial.batch_tokens < trial.fork_at:
        raise SpaceError(
            f"the fork leaves its trunk at {trial.fork_at:,} tokens, but its cooldown begins "
            f"at {cools * trial.batch_tokens:,}: it must begin where the fork does, or later"
        )
