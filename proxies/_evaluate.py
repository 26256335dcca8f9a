"""The loss a trained model is judged by: its mean on the corpus' frozen evaluation set."""

from __future__ import annotations

import math

import torch

from planner.proxies._data import Corpus, windows
from planner.proxies._model import Gpt
from planner.proxies._pools import BLOCK

EVALUATION_WINDOWS = 16
"""Windows evaluated at a time: the logits stay in a CPU's cache."""


@torch.inference_mode()
def evaluate(
    model: Gpt, corpus: Corpus, *, bf16: bool = False, at_once: int = EVALUATION_WINDOWS
) -> tuple[float, float]:
    """Return the mean loss on the evaluation set and its standard error.

    Windows cut from one block of the set are alike, so the standard error is that of block means.
    """
    cut, device = windows(corpus.validation, model.shape.context), model.flat.device
    losses = []
    for first in range(0, len(cut), at_once):
        part = torch.from_numpy(cut[first : first + at_once].astype("int64")).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            losses.append(model.losses(part).mean(1))
    means = torch.cat(losses).double()
    together = max(1, BLOCK // model.shape.context)
    blocks = torch.stack([part.mean() for part in torch.split(means, together)])
    return float(means.mean()), float(blocks.std(correction=0) / math.sqrt(len(blocks)))
