"""What bench_proxy_speed measures the gpt proxy against: its model as one would write it, and the
kernels that no way of writing it can spare."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from planner.proxies._model import NORM_EPS, Gpt, _rotate
from planner.run import Trial

KERNEL_TOKENS = 512


class PlainBlock(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        width, inner, kv = shape.width, shape.attention_width, shape.kv_heads * shape.head_dim
        self.q = nn.Linear(width, inner, bias=False)
        self.k = nn.Linear(width, kv, bias=False)
        self.v = nn.Linear(width, kv, bias=False)
        self.out = nn.Linear(inner, width, bias=False)
        self.gate = nn.Linear(width, shape.ffn, bias=False)
        self.up = nn.Linear(width, shape.ffn, bias=False)
        self.down = nn.Linear(shape.ffn, width, bias=False)
        self.attention_norm = nn.RMSNorm(width, eps=NORM_EPS)
        self.ffn_norm = nn.RMSNorm(width, eps=NORM_EPS)
        self.q_norm = nn.RMSNorm(shape.head_dim, eps=NORM_EPS)
        self.k_norm = nn.RMSNorm(shape.head_dim, eps=NORM_EPS)

    def forward(self, x, cos, sin):
        batch, context, _ = x.shape
        y = self.attention_norm(x)
        q, k, v = (part(y).view(batch, context, -1, self.shape.head_dim) for part in self.qkv)
        q, k = _rotate(self.q_norm(q), cos, sin), _rotate(self.k_norm(k), cos, sin)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        y = self.ffn_norm(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))

    @property
    def qkv(self):
        return self.q, self.k, self.v


class Plain(nn.Module):
    """The same model as one would write it, started from the weights of ``model``."""

    def __init__(self, model: Gpt, trial: Trial) -> None:
        super().__init__()
        shape = model.shape
        self.cos, self.sin = model.cos, model.sin
        self.embedding = nn.Embedding(shape.vocab, shape.width)
        self.blocks = nn.ModuleList(PlainBlock(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, eps=NORM_EPS)
        self.head = nn.Linear(shape.width, shape.vocab, bias=False)
        with torch.no_grad():
            self.embedding.weight.copy_(model.embedding)
            self.head.weight.copy_(model.head)
            for mine, block in zip(self.blocks, model.blocks, strict=True):
                sizes = [part.weight.shape[0] for part in mine.qkv]
                for part, value in zip(mine.qkv, block.qkv.split(sizes), strict=True):
                    part.weight.copy_(value)
                for part, value in zip((mine.gate, mine.up), block.gate_up.chunk(2), strict=True):
                    part.weight.copy_(value)
                mine.out.weight.copy_(block.out)
                mine.down.weight.copy_(block.down)
        matrices = [p for name, p in self.named_parameters() if p.dim() == 2 and "emb" not in name]
        rest = [p for name, p in self.named_parameters() if p.dim() == 1 or "emb" in name]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": trial.weight_decay}, {"params": rest}],
            lr=trial.lr,
            betas=(trial.beta1, trial.beta2),
            weight_decay=0.0,
        )
        self.clip = trial.clip

    def forward(self, tokens):
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        return self.head(self.norm(x))

    def step(self, windows, lr):
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad()
        logits = self(windows[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters(), self.clip)
        self.optimizer.step()
        return loss.detach()


def kernels(model, batch):
    """Return what runs the matrix products of a step and nothing else, and the same of attention.

    Products of 512 tokens, written where nothing has to be allocated; torch's attention as it is.
    """
    matrices = [matrix for block in model.blocks for matrix in block[:4]] + [model.head]
    todo = []
    for matrix in (each.detach() for each in matrices):
        out, into = (torch.randn(KERNEL_TOKENS, count) for count in matrix.shape)
        for pair in ((into, matrix.t()), (out, matrix), (out.t(), into)):
            todo.append((*pair, torch.empty(pair[0].shape[0], pair[1].shape[1])))
    shape = model.shape
    heads = (KERNEL_TOKENS // shape.context, shape.heads, shape.context, shape.head_dim)
    q, k, v, gradient = (torch.randn(heads, requires_grad=part < 3) for part in range(4))
    times = batch // KERNEL_TOKENS

    def products(*_):
        for first, second, found in todo * times:
            torch.mm(first, second, out=found)

    def attention(*_):
        for _ in range(times * shape.layers):
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            torch.autograd.grad(mixed, (q, k, v), gradient)

    return {"products": products, "attention": attention}
