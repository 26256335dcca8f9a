from __future__ import annotations

import json
from dataclasses import fields

import pytest

from planner.decide.decision import Decision
from planner.decide.hyper import hyper_decisions, rules_at, rung_hyper
from planner.fit.transfer import fit_hyper
from planner.shape import ShapeFamily

SIZE = ShapeFamily(vocab=256, context=128, depth=2).at_width(64).size
HYPER = fit_hyper([])


def test_a_rung_lies_on_the_lattice_and_obeys_the_one_rule():
    found = rung_hyper(HYPER, SIZE, 4e6, min_batch_tokens=128)
    sequences = found.batch_tokens // 128
    assert found.batch_tokens % 128 == 0
    assert sequences & (sequences - 1) == 0
    same = rules_at(SIZE, 4e6, batch_tokens=found.batch_tokens, lr=found.lr, warmup=HYPER.warmup)
    assert found == same


def test_warmup_is_whole_steps_at_least_twenty_and_never_most_of_the_run():
    found = rules_at(SIZE, 4e6, batch_tokens=256, lr=0.016)
    assert found.warmup_tokens % 256 == 0
    assert found.warmup_tokens >= 20 * 256
    assert found.warmup_tokens <= 0.05 * 4e6
    tiny = rules_at(SIZE, 256 * 10, batch_tokens=256, lr=0.016)
    assert tiny.warmup_tokens == 256 * 5


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
