"""Sound runs tables as people really have them: ladders, IsoFLOP grids and scattered runs.

Published scales (3e7 to 1e10 parameters), noise of .002 to .006 in ln loss, some of it shared by
the forks of a trunk; learning rates tuned on a grid of factor 2, batches in powers of two, warmup
of 1 to 5 %, one decayed schedule, fresh tokens, 20 to 60 runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.arrays import Floats
from planner.fit.laws import CHINCHILLA, optimal_params
from planner.observations import Observations


@dataclass(frozen=True)
class World:
    """A sound table, the law it was drawn from, the noise, and its random numbers."""

    data: Observations
    truth: Floats
    noise: float
    design: str
    rng: np.random.Generator


def clean_world(seed: int, tails: float = np.inf) -> World:
    """Draw a table; ``tails`` are the noise's degrees of freedom (inf: normal)."""
    rng = np.random.default_rng([7, seed])
    truth, noise = _law(rng), rng.uniform(0.002, 0.006)
    design = ("ladder", "isoflop", "scattered")[seed % 3]
    params, tokens = {"ladder": _ladder, "isoflop": _isoflop, "scattered": _scattered}[design](
        rng, truth
    )
    trunks = design == "ladder" and rng.random() < 0.5
    group = np.unique(params, return_inverse=True)[1] if trunks else np.arange(len(params))
    error = _shared(rng, group, 0.4 if trunks else 0.0, tails)
    loss = CHINCHILLA.predict(truth, params, tokens) * np.exp(noise * error)
    keys = tuple(f"run-{i:02d}" for i in range(len(params)))
    named = tuple(f"trunk-{g}" for g in group) if trunks else keys
    columns = _recipe(rng, params, tokens)
    depth, width = columns["depth"], columns["width"]
    attention = 0.0 if rng.random() < 0.5 else 12.0 * depth * width * 2048.0
    data = Observations(
        params=params,
        tokens=tokens,
        flops=(6.0 * params + attention) * tokens,
        loss=loss,
        loss_se=np.full(len(params), np.nan),
        group=named,
        key=keys,
        flops_convention="table",
        **columns,
    )
    return World(data, truth, noise, design, rng)


def _law(rng: np.random.Generator) -> Floats:
    """Return a law whose optimum has 12 to 35 tokens per parameter at 1e20 FLOPs."""
    alpha, beta = rng.uniform(0.30, 0.40), rng.uniform(0.30, 0.40)
    ratio = np.exp(rng.uniform(np.log(12), np.log(35)))
    size = np.sqrt(1e20 / 6.0 / ratio)
    share = rng.uniform(0.15, 0.3)
    a = share * size**alpha
    b = share * alpha / beta * (ratio * size) ** beta
    return np.array([rng.uniform(1.6, 1.9), a, b, alpha, beta])


def _ladder(rng: np.random.Generator, truth: Floats) -> tuple[Floats, Floats]:
    sizes, horizons = rng.integers(5, 8), rng.integers(5, 7)
    factor = rng.uniform(1.8, 2.3)
    n = _shaped(rng.uniform(5e7, 1.2e8) * factor ** np.arange(sizes))
    ratio = rng.uniform(4, 7) * 2.0 ** np.arange(horizons)
    return np.repeat(n, horizons), np.round(np.outer(n, ratio).ravel(), -6)


def _isoflop(rng: np.random.Generator, truth: Floats) -> tuple[Floats, Floats]:
    levels, sizes = rng.integers(4, 7), rng.integers(5, 8)
    params, tokens = [], []
    for c in rng.uniform(1e18, 6e18) * 4.0 ** np.arange(levels):
        n = np.unique(_shaped(optimal_params(truth, c) * np.geomspace(1 / 4, 4, sizes)))
        params.append(n)
        tokens.append(c / 6.0 / n)
    return np.concatenate(params), np.concatenate(tokens)


def _scattered(rng: np.random.Generator, truth: Floats) -> tuple[Floats, Floats]:
    count = rng.integers(24, 61)
    n = _shaped(np.exp(rng.uniform(np.log(5e7), np.log(3e9), count)))
    return n, np.round(n * np.exp(rng.uniform(np.log(5), np.log(120), count)), -6)


DEPTH, WIDTH = (
    axis.ravel() for axis in np.meshgrid(np.arange(4.0, 49.0), 64.0 * np.arange(4.0, 65.0))
)
_usual = (WIDTH / DEPTH > 40) & (WIDTH / DEPTH < 100)
DEPTH, WIDTH = DEPTH[_usual], WIDTH[_usual]
SIZE = 12.0 * DEPTH * WIDTH**2
"""Transformers 40 to 100 wide per layer, and their parameters without embeddings."""


def shape_of(params: Floats) -> tuple[Floats, Floats]:
    """Return depth and width of the nearest usual shapes."""
    near = np.abs(np.log(SIZE) - np.log(params)[:, None]).argmin(axis=1)
    return DEPTH[near], WIDTH[near]


def _shaped(params: Floats) -> Floats:
    depth, width = shape_of(params)
    return np.asarray(12.0 * depth * width**2)


def _shared(rng: np.random.Generator, group: np.ndarray, rho: float, tails: float) -> Floats:
    trunk, own = rng.standard_normal((2, len(group)))
    if np.isfinite(tails):
        own *= np.sqrt((tails - 2.0) / rng.chisquare(tails, len(group)))
    return np.asarray(np.sqrt(rho) * trunk[group] + np.sqrt(1.0 - rho) * own)


def _recipe(rng: np.random.Generator, params: Floats, tokens: Floats) -> dict[str, np.ndarray]:
    """Return what a table says about training beside the needed columns."""
    n = len(params)
    tuned = -0.5 * np.log(params / 1e8) + 0.1 * np.log(tokens / 2e9)
    grid = np.log(3e-3) + tuned + 0.15 * rng.standard_normal(n)
    batch = 2.0 ** np.round(np.log2(1.0 * tokens**0.57))
    depth, width = shape_of(params)
    wsd = rng.random() < 0.5
    return {
        "lr": 2.0 ** np.round(grid / np.log(2.0)),
        "batch_tokens": batch,
        "warmup_tokens": np.round(rng.uniform(0.01, 0.05) * tokens),
        "seed": np.zeros(n) if rng.random() < 0.5 else np.arange(n, dtype=float),
        "unique_tokens": np.full(n, 5e12),
        "schedule": np.full(n, "wsd" if wsd else "cosine"),
        "final_lr_ratio": np.full(n, 0.0 if wsd else 0.1),
        "decay_ratio": np.full(n, 0.2 if wsd else np.nan),
        "status": np.full(n, "finished"),
        "width": width,
        "depth": depth,
    }
