"""Muon on the matrices of the blocks, AdamW on embedding, head and gains, under one learning rate.

    v = mu v + (1 - mu) g        u = (1 - mu) g + mu v                       (Nesterov, mu = .95)
    w -= lr (decay w + .2 sqrt(max(rows, columns)) orthogonal(u))

``orthogonal`` is five steps of Newton-Schulz, X <- a X + (b S + c S S) X with S = X X', from
X = u / |u|: singular values above |u| / 500 come to lie within .7 and 1.2, without an exact one.
Keller Jordan et al. 2024 (the Muon post: coefficients, steps, momentum, AdamW for the rest).

An orthogonal m x n matrix has an RMS of 1 / sqrt(max(m, n)), so every update has an RMS of about
.2, AdamW's: one learning rate, decay and schedule serve both (Liu et al. 2025, "Muon is scalable",
arXiv 2502.16982). W_q, W_k, W_v and gate, up are orthogonalised one by one, not as the stacks they
are stored in: a stack shares one spectrum among its pieces, and lost .04 nats to single ones at
width 32 (6 of 6 pairs, bench_muon) for the same price. Equal shapes of all layers and kinds are one
batch of matrices, always in float32.

FLOPs of a model do not count this: 5 (4 m + 2 m m / n) / (6 batch) of a matrix' own, a third at
width 32 and 512 tokens a step, 2 % at width 4,096 and a million.
"""

from __future__ import annotations

import math
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from planner.proxies._model import Gpt
from planner.shape import ModelShape

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""a, b, c: the steepest slope at 0 that keeps what is near 1 near 1 (the Muon post)."""

NEWTON_SCHULZ_STEPS = 5
MOMENTUM = 0.95
UPDATE_RMS = 0.2
"""RMS of AdamW's updates, .2 to .4 in training (Liu et al. 2025)."""

NORM_EPS = 1e-7
"""Keeps a gradient of zero, such as W_q's while W_o is zero, an update of zero."""

RECIPE = {
    "momentum": MOMENTUM,
    "newton_schulz": [NEWTON_SCHULZ_STEPS, *COEFFICIENTS],
    "update_rms": UPDATE_RMS,
    "qkv_and_gate_up": "apart",
}
"""What identifies it beside the name."""


class Muon(torch.optim.AdamW):
    """AdamW whose first group, the hidden matrices in one flat tensor, Muon moves instead."""

    def __init__(self, model: Gpt, groups: list[dict[str, Any]], *settings: Any) -> None:  # noqa: ANN401
        super().__init__(groups, *settings, fused=True)
        self._shape, (weights,) = model.shape, self.param_groups[0]["params"]
        self._gradient, weights.grad = weights.grad, None  # AdamW passes by what has no gradient
        self.state[weights] = {"step": torch.zeros(()), "momentum": torch.zeros_like(weights)}

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step."""
        super().step()
        group = self.param_groups[0]
        (weights,) = group["params"]
        momentum = self.state[weights]["momentum"]
        momentum.lerp_(self._gradient, 1 - MOMENTUM)
        update = self._gradient.lerp(momentum, MOMENTUM)
        for alike in matrices(self._shape, update):
            batch = orthogonalised(torch.cat(alike)).mul_(UPDATE_RMS * math.sqrt(alike[0].shape[2]))
            torch._foreach_copy_(alike, torch.split(batch, self._shape.layers))
        weights.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=group["lr"])


def matrices(shape: ModelShape, hidden: Tensor) -> list[list[Tensor]]:
    """Return the matrices of all blocks as views of ``hidden``, laid out as ``Gpt.flat`` begins.

    A view is one kind of matrix, (layers, m, n) with m <= n; a list holds the kinds of one m and n.
    """
    width, own, shared = shape.width, shape.attention_width, shape.kv_heads * shape.head_dim
    heads = [(own, width), (shared, width), (shared, width), (width, own)]
    dims = [*heads, (shape.ffn, width), (shape.ffn, width), (width, shape.ffn)]
    sizes = [rows * columns for rows, columns in dims]
    kinds = torch.split(hidden.view(shape.layers, -1), sizes, 1)
    views = [kind.view(-1, *dim) for kind, dim in zip(kinds, dims, strict=True)]
    wide = sorted((v.mT if v.shape[1] > v.shape[2] else v for v in views), key=lambda v: v.shape)
    return [list(alike) for _, alike in groupby(wide, lambda view: view.shape)]


def orthogonalised(x: Tensor) -> Tensor:
    """Return matrices (..., m, n), m <= n, with their singular values moved to about 1."""
    a, b, c = COEFFICIENTS
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + NORM_EPS)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x
