from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

from planner.decide.decision import Decision
from planner.decide.hyper import hyper_decisions, rules_at, rung_hyper, trunk_hyper
from planner.estimate import Estimate
from planner.fit.decay import DecayFit
from planner.fit.transfer import fit_hyper
from planner.shape import ShapeFamily, Size

SIZE = ShapeFamily(vocab=256, context=128, depth=2).at_width(64).size
HYPER = fit_hyper([])


def test_a_rung_lies_on_the_lattice_and_obeys_the_one_rule():
    found = rung_hyper(HYPER, SIZE, 4e6, min_batch_tokens=128)
    sequences = found.batch_tokens // 128
    assert found.batch_tokens % 128 == 0
    assert sequences & (sequences - 1) == 0
    same = rules_at(SIZE, 4e6, batch_tokens=found.batch_tokens, lr=found.lr, warmup=HYPER.warmup)
    assert found == same


def test_a_trunk_never_takes_a_larger_batch_than_suits_its_shortest_fork():
    """Too large a batch biases a short fork's loss, and the law with it."""
    for shortest in (2.5e5, 1e6, 4e6, 1.6e7):
        trunk = trunk_hyper(HYPER, SIZE, [shortest, 4 * shortest], min_batch_tokens=128)
        alone = rung_hyper(HYPER, SIZE, shortest, min_batch_tokens=128)
        assert trunk.batch_tokens <= max(128.0, HYPER.best_batch(SIZE, shortest))
        assert trunk.batch_tokens >= alone.batch_tokens / 2, "rounded down, not thrown away"
        middle = HYPER.lr(SIZE, 2 * shortest, trunk.batch_tokens)
        assert middle.low < trunk.lr <= middle.value * 2**0.125, "lr suits the middle"


def test_warmup_is_whole_steps_at_least_twenty_and_never_most_of_the_run():
    found = rules_at(SIZE, 4e6, batch_tokens=256, lr=0.016)
    assert found.warmup_tokens % 256 == 0
    assert found.warmup_tokens >= 20 * 256
    assert found.warmup_tokens <= 0.05 * 4e6
    tiny = rules_at(SIZE, 256 * 10, batch_tokens=256, lr=0.016)
    assert tiny.warmup_tokens == 256 * 5


def test_a_missed_setting_costs_less_where_basins_become_shallower():
    flat = fit_hyper([], recipe={"unit": "images"})
    fit = replace(flat, depth_slope=-0.35)
    params = fit.prior.params
    size = Size(params, params, params, 6 * params)
    for name, cost in (
        ("lr", flat.regret(0.6931472)),
        ("batch_tokens", flat.batch_regret(0.6931472)),
    ):
        for hyper, share in ((flat, 1.0), (fit, fit.depth(size, 1e9))):
            decisions = hyper_decisions(hyper, size, 1e9, min_batch_tokens=1)
            (found,) = [one for one in decisions if one.name == name]
            assert f"{share * cost:.2g}" in found.reason


def test_weight_decay_follows_a_measured_timescale_and_says_so():
    gain = Estimate(0.01, 0.005, 0.015)
    longer = replace(
        HYPER, decay=DecayFit(Estimate(2.0, 1.5, 3.0, method="parabola"), gain, ("k",))
    )
    rule, found = (
        next(
            d
            for d in hyper_decisions(h, SIZE, 4e6, min_batch_tokens=128)
            if d.name == "weight_decay"
        )
        for h in (HYPER, longer)
    )
    assert found.estimate.value == pytest.approx(rule.estimate.value / 2)
    assert found.estimate.low == pytest.approx(rule.estimate.value / 3)
    assert found.estimate.high == pytest.approx(rule.estimate.value / 1.5)
    assert "own runs" in found.reason
    assert found.evidence == ("k",)
    kept = replace(HYPER, decay=DecayFit(gain=gain, evidence=("k",)))
    (kept,) = (
        d
        for d in hyper_decisions(kept, SIZE, 4e6, min_batch_tokens=128)
        if d.name == "weight_decay"
    )
    assert kept.estimate == rule.estimate
    assert "no better one" in kept.reason


def test_warmup_is_stated_in_steps_tokens_and_as_a_fraction():
    found = next(
        d
        for d in hyper_decisions(HYPER, SIZE, 4e6, min_batch_tokens=128)
        if d.name == "warmup_tokens"
    )
    batch = rung_hyper(HYPER, SIZE, 4e6, min_batch_tokens=128).batch_tokens
    assert found.unit == "tokens"
    assert f"{found.estimate.value / batch:.0f} steps" in found.reason
    assert f"{found.estimate.value / 4e6:.2g} of the run" in found.reason


def test_decisions_hold_what_the_rung_trains_with_and_survive_json():
    decisions = hyper_decisions(HYPER, SIZE, 4e6, min_batch_tokens=128)
    rung = rung_hyper(HYPER, SIZE, 4e6, min_batch_tokens=128)
    by_name = {decision.name: decision for decision in decisions}
    for field in fields(rung):
        assert by_name[field.name].estimate.value == pytest.approx(getattr(rung, field.name))
    assert "wsd" in by_name["schedule"].label
    assert all(decision.reason.endswith(".") for decision in decisions)
    read = tuple(Decision.from_json(json.loads(json.dumps(d.to_json()))) for d in decisions)
    assert read == decisions
