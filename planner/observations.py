"""The columns a loss law is fitted to, from a study's runs or from a user's table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np

from planner.arrays import Floats
from planner.run import Run


@dataclass(frozen=True)
class Observations:
    """Decayed losses of runs that ended well; all arrays have shape (n,), nan where unknown.

    ``params`` follows ``n_convention`` (params_matmul | params_non_embedding | params_total |
    unspecified), ``flops`` follows ``flops_convention`` (6N+attn | 6ND | table). ``group`` names
    what is independent: rows that share a group (forks of one trunk, checkpoints of one run) are
    resampled together.
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
        )
