"""The rule for weight decay, and what it takes to leave it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from planner.fit.decay import RULE, DecayFit, fit_decay, tau_of, tau_rule
from tests.fit.hyper_world import World

PARAMS, TOKENS, BATCH, LR = 2e4, 1_000_000, 512, 0.016
SIGMA = 0.004
RULES = BATCH / (LR * TOKENS * tau_rule(TOKENS / PARAMS))
"""The rule's weight decay."""


def runs(best=1.0, curvature=0.0, noise=0.0, seed=0, factors=(0.25, 1.0, 4.0), seeds=3):
    """Runs at several decays; the basin is quadratic in ln tau round ``best`` times the rule's."""
    rng = np.random.default_rng(seed)
    made = []
    for factor in factors:
        for replicate in range(seeds if factor == 1 else 1):
            run = World(rng, noise=0.0).run(
                PARAMS, TOKENS, BATCH, LR, weight_decay=factor * RULES, seed=replicate
            )
            extra = curvature * np.log(1 / factor / best) ** 2 + noise * rng.normal()
            made.append(replace(run, loss=run.loss + extra, key=f"{factor}-{replicate}"))
    return made


def test_the_rule_at_twenty_tokens_per_parameter():
    assert tau_rule(20) == pytest.approx(0.22, abs=0.005)
    assert tau_rule(200) < tau_rule(20)


def test_a_run_at_the_rule_has_the_rules_timescale():
    run = runs()[1]
    assert tau_of(run) == pytest.approx(tau_rule(TOKENS / PARAMS))
    assert tau_of(replace(run, trial=replace(run.trial, weight_decay=0.0))) == np.inf


def test_a_clear_basin_off_the_rule_is_found():
    found = fit_decay(runs(best=2.5, curvature=0.05, noise=0.001), sigma=0.001)
    assert found.factor.low < 2.5 < found.factor.high
    assert found.factor.value == pytest.approx(2.5, rel=0.15)
    assert found.gain.low > 0
    assert len(found.evidence) == 5


def test_the_minimum_is_never_looked_for_beyond_the_tested_range():
    found = fit_decay(runs(best=50.0, curvature=0.05), sigma=0.001)
    assert found.factor.value == pytest.approx(4.0)


def test_a_flat_basin_leaves_the_rule_in_nearly_every_study():
    kept = [fit_decay(runs(noise=SIGMA, seed=s), sigma=SIGMA) for s in range(300)]
    left = np.mean([fit.factor != RULE.factor for fit in kept])
    assert left <= 0.08
    assert all(fit.measured for fit in kept)


def test_two_values_are_no_parabola():
    assert fit_decay(runs(best=3.0, curvature=0.1, factors=(1.0, 4.0)), sigma=0.001) == RULE
    assert not fit_decay([], sigma=0.001).measured


def test_json_round_trips():
    for found in (RULE, fit_decay(runs(best=2.5, curvature=0.05), sigma=0.001)):
        assert DecayFit.from_json(json.loads(json.dumps(found.to_json()))) == found
