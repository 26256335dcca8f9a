"""What Muon costs a step and gains a run: `python -m tests.benchmarks.bench_muon [tokens]`.

Prints CPU milliseconds of an optimizer step (AdamW, Muon on single matrices, Muon on the stacks
they are stored in) beside those of a whole step, then final losses over a x2 grid of peak learning
rates at widths 32 and 64, depth 2, mean of two seeds, and each optimizer's parabola optimum.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from planner.proxies import _muon
from planner.proxies._model import Gpt
from planner.proxies._optim import make_optimizer
from planner.proxies.gpt import GptProxy
from planner.run import Trial
from planner.shape import ModelShape, ShapeFamily
from tests.proxies.gpt_trials import Context

WIDTHS, DEPTH, SEEDS = (32, 64), 2, (0, 1)
BATCH, CONTEXT, TOKENS = 1_024, 128, 262_144
LRS = tuple(2.0**k for k in range(-8, -2))
ALONE = _muon.matrices


def stacked(shape: ModelShape, hidden: torch.Tensor) -> list[list[torch.Tensor]]:
    """Return the matrices as they are stored, qkv and gate_up in one piece each."""
    width, own, shared = shape.width, shape.attention_width, shape.kv_heads * shape.head_dim
    dims = [(own + 2 * shared, width), (width, own), (2 * shape.ffn, width), (width, shape.ffn)]
    kinds = hidden.view(shape.layers, -1).split([m * n for m, n in dims], 1)
    views = [kind.unflatten(1, dim) for kind, dim in zip(kinds, dims, strict=True)]
    return [[v.mT if v.shape[1] > v.shape[2] else v] for v in views]


def step_costs(width: int) -> None:
    """Print the CPU milliseconds of optimizer steps and of a whole step at a width."""
    shape = ShapeFamily(vocab=256, context=CONTEXT, head_dim=16).at_width(width, DEPTH)
    trial = Trial("bench", {"width": width, "depth": DEPTH}, TOKENS, BATCH, 0.01, 0)
    windows = torch.randint(0, 256, (BATCH // CONTEXT, CONTEXT + 1))
    said = []
    for label, name, views in (
        ("adamw", "adamw", ALONE),
        ("muon", "muon", ALONE),
        ("muon on stacks", "muon", stacked),
    ):
        model = Gpt(shape, 0)
        optimizer = make_optimizer(name, model, trial)
        torch.autograd.backward(model.losses(windows).mean())
        with mock.patch.object(_muon, "matrices", views):
            said.append(f"{label} {milliseconds(optimizer.step):.2f}")
    both = milliseconds(lambda: torch.autograd.backward(model.losses(windows).mean()))
    print(f"width {width}: ms a step: {', '.join(said)}; forward and backward {both:.1f}")


def milliseconds(step: object, repeats: int = 40) -> float:
    """Return the median CPU milliseconds of calling ``step``."""
    taken = []
    for _ in range(repeats):
        begin = time.process_time()
        step()  # type: ignore[operator]
        taken.append(time.process_time() - begin)
    return 1e3 * float(np.median(taken))


def sweep(label: str, width: int, tokens: int, lrs: tuple[float, ...] = LRS) -> float:
    """Print the losses of a grid of learning rates; return the parabola's optimum."""
    data, name = {"source": "python-source"}, label.partition(" ")[0]
    proxy = GptProxy(
        data,
        context=CONTEXT,
        head_dim=16,
        evaluation_tokens=65_536,
        compile="on",
        optimizer=name,
    )
    views = stacked if label.endswith("stacks") else ALONE
    losses = np.full((len(lrs), len(SEEDS)), np.inf)
    with mock.patch.object(_muon, "matrices", views), tempfile.TemporaryDirectory() as folder:
        for i, lr in enumerate(lrs):
            for j, seed in enumerate(SEEDS):
                shape = {"width": width, "depth": DEPTH}
                trial = Trial("bench", shape, tokens, BATCH, lr, tokens // 20, seed=seed)
                losses[i, j] = proxy.train(trial, Context(Path(folder, f"{i}-{j}"))).loss
            print(f"  {label} width {width} lr {lr:.5f}: {losses[i].round(4)}", flush=True)
    mean = np.where(np.isfinite(losses).all(1), losses.mean(1), np.inf)
    best = int(np.clip(np.argmin(mean), 1, len(lrs) - 2))
    near = slice(best - 1, best + 2)
    a, b, c = np.polyfit(np.log(lrs[near]), mean[near], 2)
    optimum = float(np.exp(-b / (2 * a)))
    noise = float(np.std(losses[best], ddof=1))
    print(
        f"{label} width {width}: lr* {optimum:.4f}, loss {c - b * b / (4 * a):.4f} "
        f"(seeds differ by {noise:.4f})",
        flush=True,
    )
    return optimum


def main() -> None:
    """Print costs and sweeps."""
    torch.set_num_threads(1)
    tokens = int(sys.argv[1]) if len(sys.argv) > 1 else TOKENS
    for width in (16, *WIDTHS, 128):
        step_costs(width)
    for width in WIDTHS:
        for label in ("adamw", "muon"):
            at = sweep(label, width, tokens)
        around = tuple(2.0 ** (round(np.log2(at)) + k) for k in (-1, 0, 1))
        sweep("muon on stacks", width, tokens, around)


if __name__ == "__main__":
    main()
