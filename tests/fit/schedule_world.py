"""Planted curves of one size: known laws under known schedules, with noise neighbours share."""

from __future__ import annotations

import numpy as np

from planner.curve import Curve
from planner.fit.schedule.laws import Law, evaluate
from planner.fit.schedule.path import Path, Seen

STEPS, PEAK, WARMUP = 20_000.0, 3e-4, 800.0


def rates(kind: str, at, end: float):
    """Return the learning rate (n,) at steps (n,): constant, cosine, wsd or a drop half way."""
    x = np.clip((at - WARMUP) / (end - WARMUP), 0.0, 1.0)
    late = np.clip((at / end - 0.8) / 0.2, 0.0, 1.0)
    shapes = {
        "constant": np.ones_like(x),
        "cosine": 0.1 + 0.45 * (1.0 + np.cos(np.pi * x)),
        "wsd": 1.0 - np.sqrt(late),
        "linear": 1.0 - x,
        "drop": np.where(at < end / 2, 1.0, 0.3),
    }
    return PEAK * shapes[kind] * np.minimum(1.0, at / WARMUP)


def losses(law: Law, shape, path: Path, at):
    """Return the planted loss (n,): E 2.5, A .35, alpha .5, B .15 in the units of the laws."""
    theta = np.array([2.5, np.log(0.35), 0.5, 1.0, np.log(0.15), *shape])
    seen = Seen.of(path.scaled(STEPS, PEAK), at / STEPS)
    return np.exp(evaluate(law, theta, seen)[0])


def curve(law: Law, shape, kind: str, *, end: float = STEPS, noise: float = 4e-4, seed: int = 0):
    """Return a curve from the end of its warmup on, logged every 1 %."""
    at = np.linspace(WARMUP, end, 101)
    lr = rates(kind, at, end)
    path = Path.recorded(at, lr)
    rng = np.random.default_rng([seed, len(kind)])
    shared = np.convolve(rng.standard_normal(len(at) + 4), np.ones(5) / np.sqrt(5), "valid")
    loss = losses(law, shape, path, at) * np.exp(noise * shared)
    nothing = np.full(len(at), np.nan)
    return Curve(kind, nothing, at, lr, loss)
