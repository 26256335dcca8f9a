"""The Step Law runs as one data set: steplaw_dense (with its diverged runs) and scalebench lr_bsz.

1,730 rows of lr_bsz are steplaw_dense's own and count once. Its test rows are the one cell
(1.074B, 100B). Batches become tokens (sequences of 2,048), FLOPs are 6ND.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from planner.sweep.replay.pool import Seen

DATA = Path("../shared/data")
SEQUENCE = 2048
DIVERGED = 4.0
"""Final losses of sound runs end at 3.7; those above 4.1 left the basin or never entered it."""
OVERLAP = ["params", "tokens", "log_lr", "bs"]


CELL_X = (1_073_741_824.0, 1e11)
"""The cell of scalebench's test rows: the largest run."""


def dense() -> pd.DataFrame:
    """Return steplaw_dense in our names."""
    names = {"N": "params", "D": "tokens", "smooth loss": "loss", "lr": "lr", "bs": "bs"}
    frame = pd.read_csv(DATA / "steplaw_dense/dense_lr_bs_loss.csv", usecols=list(names))
    return frame.rename(columns=names).astype(float)


def scalebench(part: str) -> pd.DataFrame:
    """Return a part (train or test) of scalebench lr_bsz in our names."""
    names = {
        "non_embedding_param_size": "params",
        "data_size": "tokens",
        "lm_loss": "loss",
        "lr": "lr",
        "bsz": "bs",
    }
    frame = pd.read_parquet(DATA / f"scalebench/lr_bsz/{part}-00000-of-00001.parquet")
    return frame.rename(columns=names)[list(names.values())].astype(float)


def load() -> Seen:
    """Return the union of the tables as they stand, each run once; a diverged run has its loss."""
    both = pd.concat([dense(), scalebench("train"), scalebench("test")], ignore_index=True)
    both["log_lr"] = np.log(both["lr"]).round(2)
    both["params"] = both["params"].round(-3)
    runs = both.drop_duplicates(OVERLAP)
    return as_runs(runs)


def as_runs(runs: pd.DataFrame) -> Seen:
    """Return a table in our names as arrays, FLOPs 6ND."""
    flops = 6.0 * runs["params"] * runs["tokens"]
    columns = runs["params"], runs["tokens"], runs["bs"] * SEQUENCE, runs["lr"], flops, runs["loss"]
    return Seen(*(column.to_numpy() for column in columns))


def measured(runs: Seen) -> Seen:
    """Return the runs as a sweep sees them: a diverged one has no loss."""
    return replace(runs, loss=np.where(runs.loss > DIVERGED, np.nan, runs.loss))


def cells() -> list[tuple[float, float]]:
    """Return (N, D) of the 17 cells of steplaw_dense and of cell X, by size and tokens."""
    frame = dense()
    frame["params"] = frame["params"].round(-3)
    found = set(zip(frame["params"], frame["tokens"], strict=True))
    return [*sorted(found), (round(CELL_X[0], -3), CELL_X[1])]
