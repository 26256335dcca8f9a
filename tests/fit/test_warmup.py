"""The smallest warmup that costs nothing, and where it is carried."""

import json

import numpy as np
import pytest

from planner.fit.warmup import DEFAULT_FRACTION, WarmupFit, fit_warmup
from tests.fit.hyper_world import World

TOKENS, BATCH = 1_000_000, 512
TARGET = {"params": 1e9, "tokens": 2e10, "batch_tokens": 2**19, "lr": 1e-3, "beta2": 0.95}


def runs(excess: dict[int, float]):
    """One run per warmup, its loss raised by the excess; no noise."""
    world = World(np.random.default_rng(0), noise=0.0)
    made = []
    for warmup, extra in excess.items():
        run = world.run(2e4, TOKENS, BATCH, 0.016, warmup_tokens=warmup)
        object.__setattr__(run, "loss", run.loss + extra)
        made.append(run)
    return made


def test_smallest_warmup_within_tolerance_wins() -> None:
    made = runs({0: 0.08, 5_000: 0.0015, 20_000: 0.0, 80_000: 0.01})
    found = fit_warmup(made, sigma=0.001)
    assert found.tokens == 5_000
    assert found.fraction.value == found.fraction.low == 0.005
    assert found.fraction.high == 0.02
    assert found.steps == pytest.approx(5_000 / BATCH)
    assert found.evidence == tuple(sorted(run.key for run in made))
    assert fit_warmup(made, sigma=0.1).tokens == 0


def test_without_a_comparison_the_prior_speaks() -> None:
    found = fit_warmup(runs({5_000: 0.0}), sigma=0.001)
    assert not found.measured
    assert found.fraction == DEFAULT_FRACTION
    assert found.transferred(**TARGET).value == pytest.approx(0.02 * 2e10 / 2**19)


def test_transfer_follows_learning_rate_and_batch_and_keeps_the_bounds() -> None:
    found = fit_warmup(runs({5_000: 0.02, 40_000: 0.0}), sigma=0.001)
    steps = found.transferred(**TARGET)
    total = 2e10 / 2**19
    wanted = 40_000 / BATCH * (1e-3 / 0.016) * np.sqrt(2**19 / BATCH)
    floor = max(2 / (1 - 0.95), 0.005 * total)
    assert steps.value == pytest.approx(min(max(wanted, floor), 0.05 * total, 2e9 / 2**19))
    assert steps.low <= steps.value <= steps.high
    tiny = found.transferred(params=2e4, tokens=1e6, batch_tokens=512, lr=0.016, beta2=0.9999)
    assert tiny.value == pytest.approx(2 * 2e4 / 512), "the cap wins over the untuned rule"


def test_json_round_trips() -> None:
    found = fit_warmup(runs({0: 0.1, 5_000: 0.0}), sigma=0.001)
    assert WarmupFit.from_json(json.loads(json.dumps(found.to_json()))) == found
