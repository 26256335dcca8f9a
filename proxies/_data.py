"""Decides which tokens a proxy trains on, which it is judged on, and in which order they come.

Tokens are cut into windows of ``context + 1`` tokens at a stride of ``context``: neighbours share
one token, so each token is a target exactly once. The order of the windows is a permutation drawn
from the seed, anew in every epoch: the data position of a run is the number of windows it consumed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from planner.errors import DataError

Tokens = npt.NDArray[Any]
"""Token ids: uint8, uint16 or uint32."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Training and evaluation tokens, ready to be cut into windows."""

    train: Tokens
    """Memory-mapped, 1-D."""

    validation: Tokens
    """The frozen evaluation set, memory-mapped, 1-D; cut it with :func:`windows`."""

    vocab: int
    train_hash: str
    validation_hash: str

    unique_tokens: int
    """Distinct training tokens (targets) that whole windows of ``train`` offer."""

    bytes_per_token: float | None
    """Mean bytes of text behind a token; None for token files, which do not say."""

    epochs: int
    """How often ``train`` may be repeated; 1 = never twice."""

    notes: tuple[str, ...]
    """What a reader of the report should know: sampling, duplicates dropped, how it was split."""


def windows(tokens: Tokens, context: int) -> Tokens:
    """Return a view (windows, context + 1) of 1-D ``tokens``; a rest too short for one is left."""
    if len(tokens) <= context:
        raise DataError(
            f"{len(tokens)} tokens are too few for one window of context {context} and its target: "
            "give more text or a shorter context"
        )
    return np.lib.stride_tricks.sliding_window_view(np.asarray(tokens), context + 1)[::context]


class Batches:
    """Windows of training tokens in a seeded order; what it returns depends on its arguments only.

    ``epochs`` is how often each window may come; a new epoch has a new order.
    """

    def __init__(self, tokens: Tokens, context: int, seed: int, epochs: int = 1) -> None:
        self._windows = windows(tokens, context)
        self._epochs = epochs
        count = len(self._windows)
        self._order = np.concatenate(
            [np.random.default_rng((seed, epoch)).permutation(count) for epoch in range(epochs)]
        )

    def __len__(self) -> int:
        """Return how many windows may be drawn in all."""
        return len(self._order)

    def at(self, window_start: int, count: int) -> npt.NDArray[np.int64]:
        """Return (count, context + 1) tokens, the windows after the first ``window_start``.

        Raises DataError when that needs more epochs than allowed.
        """
        if window_start + count > len(self._order):
            raise DataError(
                f"training asks for {window_start + count:,} windows of text and there are "
                f"{len(self._order):,} in {self._epochs} allowed epoch(s): train on fewer tokens, "
                f"give more text, or allow more repeats with `epochs: {self._epochs + 1}`"
            )
        chosen = self._order[window_start : window_start + count]
        return self._windows[chosen].astype(np.int64)
