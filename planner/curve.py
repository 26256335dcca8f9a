"""One run's training curve: where its learning rate and its loss stood on the way."""

from __future__ import annotations

from dataclasses import dataclass

from planner.arrays import Floats


@dataclass(frozen=True)
class Curve:
    """What a run reported, in the order of its tokens or steps; all arrays have shape (n,).

    ``run`` is the run's key. Of ``tokens`` (the whole path from step 0) and ``step`` one may be nan
    throughout; ``lr`` is nan where it was not reported; ``loss`` (nats per token, usually of the
    training batches) is never nan, but may be infinite.
    """

    run: str
    tokens: Floats
    step: Floats
    lr: Floats
    loss: Floats

    def __len__(self) -> int:
        return len(self.loss)
