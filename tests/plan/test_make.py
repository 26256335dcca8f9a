from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files

import pytest

from planner.decide.sizes import BlackBox
from planner.errors import UsageError
from planner.fit.held_out import judge, predict_held_out
from planner.fit.transfer import fit_hyper
from planner.plan.make import Evidence, make_plan
from planner.plan.objective import objective_from_options
from planner.plan.plan import Plan, Verdict, json_schema
from planner.shape import ShapeFamily
from tests.planted import planted_fit

HYPER = fit_hyper([])
FAMILY = ShapeFamily(vocab=32_000, context=2048, head_dim=64, aspect=128)


def _plan(options, *, family=FAMILY, **evidence):
    made = Evidence(**({"loss": planted_fit(), "hyper": HYPER} | evidence))
    return make_plan(made, objective_from_options(options), family=family)


def _codes(plan):
    return {finding.code for finding in plan.findings}


def _judged(fit, error):
    rungs = [({}, n, 2e22 / 6 / n, 2e22) for n in (6e9, 1.2e10, 2.4e10)]
    prediction = predict_held_out(fit, rungs, "hash")
    return judge(prediction, [r.loss.value * (1 + error) for r in prediction.rungs], fit.sigma)


def test_a_plan_survives_json_and_fits_the_packaged_schema():
    plan = _plan({"gpus": 64, "gpu": "h100", "days": 14}, held_out=_judged(planted_fit(), 0.0))
    text = json.dumps(plan.to_json(), allow_nan=False)
    assert Plan.from_json(json.loads(text)).to_json() == plan.to_json()
    packaged = json.loads(files("planner.plan").joinpath("plan.schema.json").read_text())
    assert packaged == json_schema()


def test_a_foreign_json_is_refused_by_field():
    data = _plan({"flops": 1e22}).to_json()
    data["cost"] = {"gpu": 3}
    with pytest.raises(UsageError, match="cost"):
        Plan.from_json(data)


def test_the_same_evidence_makes_the_same_plan():
    options = {"usd": 20_000, "gpu": "h100"}
    assert _plan(options) == _plan(options)


def test_what_is_planned_is_what_is_priced():
    plan = _plan({"gpus": 64, "gpu": "h100", "days": 14, "mfu": 0.4})
    batch = plan.decision("batch_tokens").estimate.value
    tokens = plan.decision("tokens").estimate.value
    assert tokens % batch == 0
    assert plan.flops == pytest.approx(6 * plan.decision("params").estimate.value * tokens)
    assert plan.cost.days.value == pytest.approx(14, rel=1e-3)
    low, high = plan.flat_region_params
    assert low < plan.decision("params").estimate.value < high


def test_the_headline_says_what_it_takes_to_sign():
    plan = _plan({"gpus": 64, "gpu": "h100", "days": 14})
    assert plan.headline.startswith("GO WITH WARNINGS: train 15.8B (L43 d5504) on 322B tokens")
    loss = plan.decision("loss").estimate
    said = (f"predicted loss {loss.value:.1f}", "days on 64 x H100", "$", "90 % intervals")
    for part in (*said, "Because:"):
        assert part in plan.headline


def test_alternatives_are_cheaper_smaller_or_better():
    plan = _plan({"usd": 20_000, "gpu": "h100", "inference_tokens": "10T", "max_params": "4B"})
    best, served, near = plan.alternatives
    params = plan.decision("params").estimate.value
    assert params <= 4e9 < best.params
    assert best.loss_nats.value < plan.decision("loss").estimate.value
    assert served.params < params
    assert served.flops > plan.flops
    assert near.flops < plan.flops
    assert near.usd < 20_000


def test_half_the_size_is_offered_where_nobody_says_what_is_served():
    plan = _plan({"flops": 1e22})
    served = plan.alternatives[1]
    assert served.params <= 0.5 * plan.decision("params").estimate.value
    assert served.flops == pytest.approx(1e22, rel=1e-4)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"flops": 1e22, "tokenizer": "other"}, "other-tokenizer"),
        ({"flops": 1e22, "data": "web"}, "other-data"),
        ({"params": "7B", "tokens": "140B", "unique_tokens": "20B"}, "repeated-data"),
        ({"flops": 1e22, "max_params": "1B", "max_tokens": "1B"}, "budget-unspent"),
        ({"flops": 1e22, "gpu": "h100"}, "assumed-mfu"),
        ({"flops": 1e22}, "flops-6nd"),
        ({"flops": 1e22}, "lr-prior-only"),
    ],
)
def test_doubts_become_findings(options, code):
    assert code in _codes(_plan(options, facts={"tokenizer": "bytes", "context": 128}))


def test_a_target_like_its_proxies_is_no_doubt():
    plan = _plan({"flops": 1e22, "tokenizer": "bytes"}, facts={"tokenizer": "bytes"})
    assert "other-tokenizer" not in _codes(plan)


def test_data_worn_out_is_no_go():
    plan = _plan({"params": "7B", "tokens": "140B", "unique_tokens": "5B"})
    assert plan.verdict is Verdict.NO_GO


def test_without_shapes_a_usual_one_is_named_and_a_black_box_has_none():
    assert "assumed-family" in _codes(_plan({"flops": 1e22}, family=None))
    plan = _plan({"flops": 1e22}, family=BlackBox(), hyper=None)
    assert plan.shape is None
    assert "learning rate" in plan.not_checked[0]
    assert [d.name for d in plan.decisions] == ["params", "tokens", "loss"]


def test_a_table_of_tiny_models_gets_a_count_and_no_shape():
    fit = planted_fit(largest=1e14)
    tiny = replace(fit, range=replace(fit.range, params=(1e4, 3e5)))
    plan = _plan({"flops": 1e15}, family=None, loss=tiny, hyper=None)
    assert plan.shape is None
    assert plan.decision("params").estimate.value < 1e7


def test_held_out_failure_decides():
    fit = planted_fit()
    assert _plan({"flops": 1e23}, held_out=_judged(fit, 0.3)).verdict is Verdict.NO_GO
    fine = _plan({"flops": 1e23}, held_out=_judged(fit, 0.0))
    assert {rule.name for rule in fine.rules} == {"warning: lr-prior-only", "warning: lr-uncertain"}
    assert fine.held_out["inside90"]


def test_shares_add_up_and_name_the_wider_band():
    plan = _plan({"usd": 20_000, "gpu": "h100"})
    for quantity in ("loss", "cost"):
        shares = [s for s in plan.what_would_change if s.quantity == quantity]
        assert sum(s.share for s in shares) == pytest.approx(1.0)
        assert [s.share for s in shares] == sorted((s.share for s in shares), reverse=True)
    cost = [s.what for s in plan.what_would_change if s.quantity == "cost"]
    assert cost[0] == "price per GPU-hour"
    far = _plan({"flops": 5e23}, hyper=None, loss=planted_fit(exponent_sd=0.001))
    assert "discrepancy" in far.what_would_change[0].what


def test_the_next_experiment_is_affordable_and_helps():
    plan = _plan({"flops": 5e23}, hyper=None)
    found = plan.next_experiment
    assert found.cost_flops <= 0.05 * 5e23 * 1.01
    assert 0.01 < found.expected_shrink < 1
    assert found.quantity == "loss"
    worn = replace(planted_fit(exponent_sd=0.0), sigma=1e-9)
    assert _plan({"flops": 1e21}, hyper=None, loss=worn).next_experiment is None
