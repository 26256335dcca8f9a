"""A decoder-only transformer over one flat buffer of parameters.

Pre-norm blocks on a residual stream x of shape (batch, context, width):

    x += W_o attention(rotary(norm(W_q x)), rotary(norm(W_k x)), W_v x)
    x += W_d (silu(W_g x) * W_u x)

with x RMS-normalised before each half, and logits W_h norm(x). W_o, W_d and an untied head start at
zero, so the first loss is exactly ln V; the other matrices start at 1/sqrt(fan in), an untied
embedding at 1, a tied table at .02. A parametrisation's forward multipliers
(``proxies/_parametrization.py``) act on the embedding's output, on each branch that joins x, on
q k' and on the logits.

Parameters and gradients are views of two flat tensors, matrices first, so that zeroing, the global
norm and the optimizer are one kernel each: at 1e4-1e5 parameters the number of kernels is the cost.
"""

from __future__ import annotations

import copy
import math
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from planner.proxies._parametrization import Multipliers
from planner.shape import ModelShape

ROTARY_BASE = 10_000.0
"""Su et al. 2021 (RoFormer); contexts up to a few thousand."""

NORM_EPS = 1e-6
SP = Multipliers()
TIED_STD = 0.02
"""GPT-2's embedding scale: small enough that a tied head starts near ln V."""


class Block(NamedTuple):
    """The weights of one layer; ``qkv`` and ``gate_up`` stack matrices that share their input."""

    qkv: Tensor
    out: Tensor
    gate_up: Tensor
    down: Tensor
    attention_gain: Tensor
    qk_gain: Tensor
    ffn_gain: Tensor


class Gpt:
    """Weights, gradients and the loss of one model.

    ``flat`` and ``gradient`` have shape (params_total,); the first ``decayed`` entries are the
    matrices weight decay acts on (``hidden`` entries of blocks, then an untied head), then come
    embedding and gains.
    """

    def __init__(
        self,
        shape: ModelShape,
        seed: int,
        device: str = "cpu",
        multipliers: Multipliers = SP,
    ) -> None:
        self.shape, self.multipliers = shape, multipliers
        layout = _layout(shape)
        generator = torch.Generator().manual_seed(seed)
        start = [_initial(dims, std, generator).reshape(-1) for dims, std, _ in layout.values()]
        self.flat = torch.cat(start).to(device)
        self.gradient = torch.zeros_like(self.flat)
        self.decayed = sum(math.prod(dims) for dims, _, decays in layout.values() if decays)
        self.hidden = self.decayed - (0 if shape.tied else shape.vocab * shape.width)
        self._dims = {name: dims for name, (dims, _, _) in layout.items()}
        self._bind(self._leaves())
        self.cos, self.sin = _rotary(shape, device)
        kinds = [0] * shape.heads + [1] * shape.kv_heads
        self.gain_of_head = torch.tensor(kinds, device=device)

    def _bind(self, weights: dict[str, Tensor]) -> None:
        self.weights = weights
        self.blocks = [
            Block(*(weights[f"{layer}.{name}"] for name in Block._fields))
            for layer in range(self.shape.layers)
        ]
        self.embedding = weights["embedding"]
        self.head = self.embedding if self.shape.tied else weights["head"]

    def _leaves(self) -> dict[str, Tensor]:
        """Return the parameters as leaves whose gradients are views of ``gradient``."""
        leaves, gradients = self.named(self.flat), self.named(self.gradient)
        for name, leaf in leaves.items():
            leaf.requires_grad_()
            leaf.grad = gradients[name]
        return leaves

    def live_in(self, flat: Tensor, gradient: Tensor) -> None:
        """Move the parameters to ``flat`` and their gradients to ``gradient``."""
        flat.copy_(self.flat)
        self.flat, self.gradient = flat, gradient
        self._bind(self._leaves())

    def named(self, flat: Tensor) -> dict[str, Tensor]:
        """Return the parameters, by name, as views of a tensor laid out as ``flat`` is."""
        sizes = [math.prod(dims) for dims in self._dims.values()]
        parts = torch.split(flat, sizes)
        return {
            name: part.view(dims)
            for part, (name, dims) in zip(parts, self._dims.items(), strict=True)
        }

    def mean_gradient(self, flat: Tensor, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient at ``flat``, laid out as it is, of the mean loss, and that loss.

        A function of its arguments alone, without side effects: it can be compiled and batched.
        """

        def mean_loss(weights: dict[str, Tensor]) -> Tensor:
            other = copy.copy(self)
            other._bind(weights)
            return other.losses(windows).mean()

        gradients, loss = torch.func.grad_and_value(mean_loss)(self.named(flat))
        return torch.cat([part.reshape(-1) for part in gradients.values()]), loss

    def logits(self, tokens: Tensor) -> Tensor:
        """Return logits (batch, context, vocab) of int64 ``tokens`` (batch, context)."""
        scale = self.multipliers
        x = _scaled(F.embedding(tokens, self.embedding), scale.embedding)
        for block in self.blocks:
            mixed = self._attention(_norm(x, block.attention_gain), block)
            x = torch.add(x, mixed, alpha=scale.residual)
            gate, up = F.linear(_norm(x, block.ffn_gain), block.gate_up).chunk(2, -1)
            x = torch.add(x, F.linear(F.silu(gate) * up, block.down), alpha=scale.residual)
        return F.linear(_scaled(_norm(x, self.weights["gain"]), scale.logits), self.head)

    def losses(self, windows: Tensor) -> Tensor:
        """Return the losses in nats (batch, context) of ``windows`` (batch, context + 1)."""
        logits = self.logits(windows[:, :-1]).float()
        flat = F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten(), reduction="none")
        return flat.view(len(windows), -1)

    def _attention(self, x: Tensor, block: Block) -> Tensor:
        shape = self.shape
        batch, context, _ = x.shape
        heads = F.linear(x, block.qkv).view(batch, context, -1, shape.head_dim)
        qk, v = torch.split(heads, [shape.heads + shape.kv_heads, shape.kv_heads], 2)
        qk = F.rms_norm(qk, (shape.head_dim,), eps=NORM_EPS) * block.qk_gain[self.gain_of_head]
        qk = _rotate(qk, self.cos[:context], self.sin[:context]).transpose(1, 2)
        q, k = torch.split(qk, [shape.heads, shape.kv_heads], 1)
        # In bf16 a CPU's kernel takes three times as long as in fp32.
        slow = torch.is_autocast_enabled("cpu")
        with torch.autocast("cpu", enabled=False) if slow else nullcontext():
            mixed = F.scaled_dot_product_attention(
                q,
                k,
                v.transpose(1, 2).to(q.dtype),
                is_causal=True,
                scale=self.multipliers.attention,
                enable_gqa=shape.heads != shape.kv_heads,
            )
        return F.linear(mixed.transpose(1, 2).flatten(2), block.out)


class Layout(NamedTuple):
    """One parameter: its dimensions, the standard deviation it starts at, whether it decays."""

    dims: tuple[int, ...]
    std: float | None
    decays: bool


def _layout(shape: ModelShape) -> dict[str, Layout]:
    """List the parameters in the order of the flat buffer; a std of None means ones (a gain)."""
    width, inner = shape.width, shape.attention_width
    projected = inner + 2 * shape.kv_heads * shape.head_dim
    matrices: dict[str, Layout] = {}
    gains: dict[str, Layout] = {"gain": Layout((width,), None, False)}
    for layer in range(shape.layers):
        matrices |= {
            f"{layer}.qkv": Layout((projected, width), width**-0.5, True),
            f"{layer}.out": Layout((width, inner), 0.0, True),
            f"{layer}.gate_up": Layout((2 * shape.ffn, width), width**-0.5, True),
            f"{layer}.down": Layout((width, shape.ffn), 0.0, True),
        }
        gains |= {
            f"{layer}.attention_gain": Layout((width,), None, False),
            f"{layer}.qk_gain": Layout((2, shape.head_dim), None, False),
            f"{layer}.ffn_gain": Layout((width,), None, False),
        }
    if not shape.tied:
        matrices["head"] = Layout((shape.vocab, width), 0.0, True)
    std = TIED_STD if shape.tied else 1.0
    return matrices | {"embedding": Layout((shape.vocab, width), std, False)} | gains


def _initial(dims: tuple[int, ...], std: float | None, generator: torch.Generator) -> Tensor:
    if std is None:
        return torch.ones(dims)
    return torch.randn(dims, generator=generator) * std


def _scaled(x: Tensor, factor: float) -> Tensor:
    return x if factor == 1 else x * factor


def _norm(x: Tensor, gain: Tensor) -> Tensor:
    return F.rms_norm(x, gain.shape, gain, NORM_EPS)


def _rotary(shape: ModelShape, device: str) -> tuple[Tensor, Tensor]:
    """Return cos and signed sin, each (context, 1, head_dim): the angle of a pair at a position."""
    half = shape.head_dim // 2
    rates = ROTARY_BASE ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = torch.outer(torch.arange(shape.context, dtype=torch.float64), rates)
    cos, sin = angles.cos().float(), angles.sin().float()
    turns = torch.cat([cos, cos], 1), torch.cat([-sin, sin], 1)
    return turns[0].unsqueeze(1).to(device), turns[1].unsqueeze(1).to(device)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (i, i + head_dim / 2) of x (batch, context, heads, head_dim)."""
    return x * cos + x.roll(x.shape[-1] // 2, -1) * sin
