"""A litgpt DataModule: random windows of a file of bytes, and the first ones of another.

    --data byte_windows.ByteWindows --data.train train.bin --data.validation validation.bin

The order of the windows is the seed's, so that two runs of a seed see the same data.
"""

from __future__ import annotations

import os

import numpy as np
import torch
from litgpt.data import DataModule
from torch.utils.data import DataLoader, Dataset


class Windows(Dataset):
    """Windows of ``length`` bytes: at random places by ``seed``, or one after the other."""

    def __init__(self, file: str, length: int, count: int, seed: int | None) -> None:
        self.bytes, self.length = np.memmap(file, np.uint8, "r"), length
        if seed is None:
            self.places = np.arange(count) * length
        else:
            last = len(self.bytes) - length
            self.places = np.random.default_rng(seed).integers(0, last, count)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> torch.Tensor:
        at = self.places[index]
        return torch.from_numpy(self.bytes[at : at + self.length].astype(np.int64))


class ByteWindows(DataModule):
    """What ``--data`` names. litgpt asks for one token more than the context."""

    def __init__(self, train: str, validation: str, seed: int = 0) -> None:
        super().__init__()
        self.train, self.validation, self.seed = os.fspath(train), os.fspath(validation), seed

    def connect(self, tokenizer=None, batch_size=1, max_seq_length=None, **kwargs) -> None:
        self.batch_size, self.length = batch_size, max_seq_length + 1

    def train_dataloader(self) -> DataLoader:
        return self._loader(Windows(self.train, self.length, 1 << 20, self.seed))

    def val_dataloader(self) -> DataLoader:
        return self._loader(Windows(self.validation, self.length, 512, None))

    def _loader(self, windows: Windows) -> DataLoader:
        return DataLoader(windows, self.batch_size, drop_last=True)
