"""AdamW, or Muon beside it (``proxies/_muon.py``), and global clipping over a model's flat buffers.

Weight decay (decoupled, times the learning rate) acts on the matrices of the blocks and on an
untied head; embeddings and gains never decay. A parametrisation changes learning rate and decay of
the blocks' matrices (``proxies/_parametrization.py``). Gradients are scaled to a global norm of at
most ``clip`` before they reach the moments; ``clip <= 0`` switches that off.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from planner.errors import SpaceError
from planner.proxies import _muon
from planner.proxies._model import Gpt
from planner.run import Trial

ADAM_EPS = 1e-8

OPTIMIZERS = ("adamw", "muon")


class Part(NamedTuple):
    """Entries of the flat buffer that share factors of learning rate and weight decay."""

    entries: slice
    lr: float
    decay: float


def parts(model: Gpt, optimizer: str = "adamw") -> tuple[Part, ...]:
    """Return the parts of ``model.flat`` in order: what decays, and what does not.

    Hidden matrices are a part of their own where their factors differ from the head's, or Muon
    moves them.
    """
    scale = model.multipliers
    hidden, still = Part(slice(0, model.hidden), scale.hidden_lr, scale.hidden_decay), model.decayed
    rest = Part(slice(still, None), 1.0, 0.0)
    if hidden[1:] == (1.0, 1.0) and optimizer == "adamw":
        return Part(slice(0, still), 1.0, 1.0), rest
    head = Part(slice(model.hidden, still), 1.0, 1.0)
    return (hidden, rest) if model.hidden == still else (hidden, head, rest)


def adamw(model: Gpt, trial: Trial) -> torch.optim.AdamW:
    """Return AdamW with one flat group per part of ``model``."""
    groups, *settings = _settings(model, trial, parts(model))
    return torch.optim.AdamW(groups, *settings, fused=True)


def check(optimizer: str, parametrization: str) -> None:
    """Refuse Muon under what was made for Adam. Raises SpaceError."""
    if optimizer == "adamw" or parametrization == "sp":
        return
    raise SpaceError(
        f"`parametrization: {parametrization}` divides the learning rate of hidden matrices by the "
        f"width because Adam moves them; how {optimizer}'s should move with the width beside "
        "AdamW's, at one learning rate, is not known: write `parametrization: sp`, under which the "
        "sweep measures it, or `optimizer: adamw`"
    )


def recipe(name: str) -> dict[str, Any]:
    """Return what identifies an optimizer of OPTIMIZERS."""
    adam = f"adamw eps {ADAM_EPS:g}, decoupled decay of matrices only"
    if name == "adamw":
        return {"optimizer": adam}
    return {"optimizer": f"{name} of hidden matrices, {adam}", name: _muon.RECIPE}


def make_optimizer(name: str, model: Gpt, trial: Trial) -> torch.optim.AdamW:
    """Return an optimizer of OPTIMIZERS with one flat group per part of ``model``."""
    if name == "adamw":
        return adamw(model, trial)
    return _muon.Muon(model, *_settings(model, trial, parts(model, name)))


def _settings(model: Gpt, trial: Trial, found: tuple[Part, ...]) -> tuple[Any, ...]:
    """Return the groups, learning rate, betas and eps of AdamW."""
    groups = []
    for part in found:
        weights = model.flat[part.entries]
        weights.grad = model.gradient[part.entries]
        decay = trial.weight_decay * part.decay
        groups.append({"params": [weights], "lr": trial.lr * part.lr, "weight_decay": decay})
    eps = ADAM_EPS * model.multipliers.eps
    return groups, trial.lr, (trial.beta1, trial.beta2), eps


def clip_gradient(gradient: Tensor, clip: float) -> Tensor:
    """Scale ``gradient`` in place to a norm of at most ``clip``; return the norm it had."""
    norm: Tensor = torch.linalg.vector_norm(gradient)
    if clip > 0:
        gradient.mul_((clip / norm).clamp_(max=1.0))
    return norm
