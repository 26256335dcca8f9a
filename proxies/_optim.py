"""AdamW and global clipping over a model's flat buffers.

Weight decay (decoupled, times the learning rate) acts on the matrices of the blocks and on an
untied head; embeddings and gains never decay. Gradients are scaled to a global norm of at most
``clip`` before they reach the moments; ``clip <= 0`` switches that off.
"""

from __future__ import annotations

import torch
from torch import Tensor

from planner.proxies._model import Gpt
from planner.run import Trial

ADAM_EPS = 1e-8


def adamw(model: Gpt, trial: Trial) -> torch.optim.AdamW:
    """Return AdamW over the two flat groups of ``model``: what decays, and what does not."""
    cut = model.decayed
    parts = [model.flat[:cut], model.flat[cut:]]
    for part, gradient in zip(parts, [model.gradient[:cut], model.gradient[cut:]], strict=True):
        part.grad = gradient
    groups = [
        {"params": [parts[0]], "weight_decay": trial.weight_decay},
        {"params": [parts[1]], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, trial.lr, (trial.beta1, trial.beta2), ADAM_EPS, fused=True)


def clip_gradient(gradient: Tensor, clip: float) -> Tensor:
    """Scale ``gradient`` in place to a norm of at most ``clip``; return the norm it had."""
    norm: Tensor = torch.linalg.vector_norm(gradient)
    if clip > 0:
        gradient.mul_((clip / norm).clamp_(max=1.0))
    return norm
