"""One planted law of every form, and runs drawn from it."""

from __future__ import annotations

import numpy as np

from planner.arrays import Floats
from planner.fit.forms import FORMS
from planner.fit.laws import Law
from planner.fit.points import Points

TRUTHS = {
    "coupled": np.array([1.8, 1e4, 1e5, 0.5, 0.55, 0.7]),
    "bounded-rational": np.array([1.8, 482.0, 2085.0, 0.348, 0.366, 0.2]),
    "kaplan-floor": np.array([1.5, 3e9, 2e10, 0.30, 0.35]),
    "farseer": np.array([-0.124, 0.3, 0.4, -4.8, 9.0, -0.1, 0.123, 0.1, -0.15, 2e10]),
    "batch": np.array([1.8, 482.0, 20.0, 0.348, 0.366, 2e5]),
    "data-constrained": np.array([1.87, 521.0, 1488.0, 0.3527, 0.36, 15.4, 5.3]),
    "over-training": np.array([1.8, 200.0, 300.0, 0.17]),
}


def columns(law: Law, n: int, seed: int) -> tuple[Floats, Floats, Floats | None]:
    """Return sizes, tokens and the third column the law needs, over three decades of compute."""
    rng = np.random.default_rng(seed)
    params = np.exp(rng.uniform(np.log(5e7), np.log(1e10), n))
    tokens = params * np.exp(rng.uniform(1.5, 5.0, n))
    tokens *= 2e10 / np.exp(np.log(tokens).mean())  # Farseer's unit of D is the middle of the data
    share = rng.random(n)
    if law.extra == "batch_tokens":
        return params, tokens, 2e4 * 300.0**share
    if law.extra == "unique_tokens":
        return params, tokens, tokens / np.exp(np.maximum(0.0, 6.0 * share - 2.0))
    return params, tokens, None


def sample(name: str, n: int, noise: float, seed: int) -> Points:
    """Return runs of the planted law of that form, with noise of that sd on ln loss."""
    law = FORMS[name]
    params, tokens, extra = columns(law, n, seed)
    error = noise * np.random.default_rng(seed + 1000).standard_normal(n)
    loss = law.predict(TRUTHS[name], params, tokens, extra) * np.exp(error)
    return Points.of(params, tokens, loss, extra=extra)
