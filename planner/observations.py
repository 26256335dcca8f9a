"""The columns a loss law is fitted to, from a study's runs or from a user's table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Self

import numpy as np

from planner.arrays import Flags, Floats, Labels
from planner.run import Run


def _unknown() -> Floats:
    return np.empty(0)


def _unnamed() -> Labels:
    return np.empty(0, dtype=np.str_)


def _no() -> Flags:
    return np.empty(0, dtype=np.bool_)


@dataclass(frozen=True)
class Observations:
    """Decayed losses of runs that ended well; all arrays have shape (n,), nan where unknown.

    ``params`` follows ``n_convention`` (params_matmul | params_non_embedding | params_total |
    unspecified), ``flops`` follows ``flops_convention`` (6N+attn | 6ND | table | counted; the last
    by a proxy that is no language model). ``least_loss`` is what the best of runs tend to
    (label smoothing's own floor; 0: nothing known). ``group`` names what is
    independent: rows that share a group (forks of one trunk, checkpoints of one run) are resampled
    together.

    The optional columns serve the doubts of :mod:`planner.fit.check` and the forms that need them;
    left out, they are nan, "" or False in every row. ``epochs`` is tokens / unique_tokens,
    ``schedule`` a name of :class:`planner.run.Schedule` (or the user's own), ``censored`` says that
    the loss is only an upper bound of what the run would have reached.
    """

    params: Floats
    tokens: Floats
    flops: Floats
    loss: Floats
    loss_se: Floats
    lr: Floats
    batch_tokens: Floats
    group: tuple[str, ...]
    key: tuple[str, ...]
    n_convention: str = "params_matmul"
    flops_convention: str = "6N+attn"
    least_loss: float = 0.0
    seed: Floats = field(default_factory=_unknown)
    unique_tokens: Floats = field(default_factory=_unknown)
    epochs: Floats = field(default_factory=_unknown)
    warmup_tokens: Floats = field(default_factory=_unknown)
    decay_ratio: Floats = field(default_factory=_unknown)
    final_lr_ratio: Floats = field(default_factory=_unknown)
    width: Floats = field(default_factory=_unknown)
    depth: Floats = field(default_factory=_unknown)
    schedule: Labels = field(default_factory=_unnamed)
    status: Labels = field(default_factory=_unnamed)
    censored: Flags = field(default_factory=_no)

    def __post_init__(self) -> None:
        """Fill the optional columns that were left out."""
        blank = {"f": np.nan, "U": "", "b": False}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, np.ndarray) and not value.size:
                full = np.full(len(self), blank[value.dtype.kind], dtype=value.dtype)
                object.__setattr__(self, f.name, full)

    def __len__(self) -> int:
        return len(self.loss)

    def take(self, rows: np.ndarray) -> Self:
        """Return the rows picked by a boolean mask or by indices."""
        index = np.arange(len(self))[rows]
        arrays = {
            f.name: getattr(self, f.name)[index]
            for f in fields(self)
            if isinstance(getattr(self, f.name), np.ndarray)
        }
        return replace(
            self,
            **arrays,
            group=tuple(self.group[i] for i in index),
            key=tuple(self.key[i] for i in index),
        )

    @classmethod
    def from_runs(cls, runs: Sequence[Run]) -> Self:
        """Collect the runs with a final loss; forks of one trunk share a group."""
        done = [run for run in runs if run.done]

        def column(values: Sequence[float]) -> Floats:
            return np.asarray(values, dtype=np.float64)

        unique = column([r.metrics.get("unique_tokens", np.nan) for r in done])
        return cls(
            params=column([r.size.params_matmul for r in done]),
            tokens=column([r.tokens for r in done]),
            flops=column([r.flops for r in done]),
            loss=column([r.loss for r in done]),
            loss_se=column([r.loss_se for r in done]),
            lr=column([r.trial.lr for r in done]),
            batch_tokens=column([r.trial.batch_tokens for r in done]),
            group=tuple(r.trial.parent or r.key for r in done),
            key=tuple(r.key for r in done),
            seed=column([r.trial.seed for r in done]),
            warmup_tokens=column([r.trial.warmup_tokens for r in done]),
            decay_ratio=column([r.trial.schedule.decay_ratio for r in done]),
            final_lr_ratio=column([r.trial.schedule.final_lr_ratio for r in done]),
            schedule=np.array([r.trial.schedule.name for r in done], dtype=np.str_),
            flops_convention="counted" if np.isfinite(unique).any() else "6N+attn",
            unique_tokens=unique,
            least_loss=min((r.metrics.get("least_loss", 0.0) for r in done), default=0.0),
            status=np.array([r.status.value for r in done], dtype=np.str_),
        )
