"""What tests of sharded tokens share: a corpus of them, all its windows, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from planner.errors import DataError
from planner.proxies._data import Batches, Corpus, prepare

SMALL = {"vocab": 300, "evaluation_tokens": 4_096}


def opened(tmp_path: Path, **data: object) -> Corpus:
    return prepare({**SMALL, **data}, context=32, cache=tmp_path / "cache")


def all_windows(corpus: Corpus, seed: int = 0) -> np.ndarray:
    batches = Batches(corpus.train, 32, seed)
    return batches.at(0, len(batches))


def refuse(tmp_path: Path, sentence: str, **data: object) -> None:
    with pytest.raises(DataError, match=sentence):
        opened(tmp_path, **data)


def refuse_late(corpus: Corpus, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        all_windows(corpus)


def uploaded(store, pattern: str) -> str:
    for path in Path(pattern).parent.iterdir():
        store.pipe_file(f"/data/{path.name}", path.read_bytes())
    return "memory://data/*.bin"
