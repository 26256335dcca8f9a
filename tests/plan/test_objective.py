from __future__ import annotations

import pytest

from planner.errors import UsageError
from planner.plan.cost import cost_of
from planner.plan.hardware import device, devices
from planner.plan.objective import objective_from_options


def test_gpu_days_buy_peak_times_mfu():
    found = objective_from_options({"gpus": 64, "gpu": "h100", "days": "14d", "mfu": 0.5})
    assert found.flops == pytest.approx(64 * 989e12 * 0.5 * 14 * 86400)
    assert objective_from_options(
        {"gpus": 64, "gpu": "H100", "days": 14, "mfu": 0.5}
    ).flops == pytest.approx(found.flops)


def test_money_buys_gpu_hours():
    found = objective_from_options({"usd": "$20k", "gpu": "h100", "price": 2.5, "mfu": 0.4})
    assert found.flops == pytest.approx(20_000 / 2.5 * 3600 * 989e12 * 0.4)


def test_cost_returns_the_budget_and_carries_the_bands():
    stated = objective_from_options({"usd": 20_000, "gpu": "h100", "price": 2.5, "mfu": 0.4})
    exact = cost_of(stated.flops, stated.machine)
    assert exact.usd.value == exact.usd.low == exact.usd.high == pytest.approx(20_000)
    assert exact.days is None
    assumed = objective_from_options({"gpus": 8, "gpu": "h100", "days": 10})
    cost = cost_of(assumed.flops, assumed.machine)
    assert cost.days.value == pytest.approx(10)
    assert cost.days.low == pytest.approx(10 * 0.4 / 0.5)
    assert cost.days.high == pytest.approx(10 * 0.4 / 0.3)
    assert cost.gpu_hours.value == pytest.approx(8 * 240)
    assert cost.usd.value == pytest.approx(8 * 240 * (1.99 * 5.0) ** 0.5)
    assert cost.usd.low < 8 * 240 * 1.99 < cost.usd.value
    assert cost.mfu_source == "assumed"
    assert "2026-05" in cost.price_source


def test_a_given_size_needs_no_flops_and_texts_are_read():
    found = objective_from_options(
        {"params": "7B", "tokens": "140B tokens", "unique_tokens": "20B", "days": None}
    )
    assert found.given_size == (7e9, 1.4e11)
    assert found.flops is None
    assert found.caps.unique_tokens == 2e10
    assert found.to_json()["kind"] == "size"


def test_facts_of_the_target_are_kept_apart_from_its_budget():
    found = objective_from_options({"flops": "1e21", "tokenizer": "bpe-32k", "context": 4096})
    assert found.facts == {"tokenizer": "bpe-32k", "context": 4096}
    assert found.flops == 1e21


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "no budget was given"),
        ({"gpus": 8, "gpu": "h100"}, "--gpus also needs --days"),
        ({"flops": 1e21, "usd": 100, "gpu": "h100"}, "--flops and --usd are 2 budgets"),
        ({"usd": 100}, "--usd alone is no budget: it needs --gpu"),
        ({"days": 3}, "it needs --gpus and --gpu"),
        ({"days": 3, "gpu": "h100"}, "it needs --gpus"),
        ({"params": "7B"}, "it needs --tokens"),
        ({"tokens": "7B"}, "--tokens needs --params"),
        ({"flops": 1e21, "price": 2}, "--price says nothing without --gpu"),
        ({"flops": 1e21, "gpus": 2}, "--gpus says nothing without --gpu"),
        ({"params": 1, "tokens": 2, "max_params": 3}, "--max-params would limit"),
        ({"flops": 1e21, "gpu": "h1000"}, "did you mean h100"),
        ({"flops": 1e21, "gpu": "h100", "mfu": 40}, "share between 0 and 1"),
        ({"usd": 100, "gpu": "l40s"}, "no rental price of L40S"),
        ({"flops": 0}, "must be more than zero"),
        ({"flops": "lots"}, "lots"),
        ({"gpus": 8, "gpu": "h100", "days": "soon"}, "soon"),
        ({"flop": 1e21}, "knows no flop"),
    ],
)
def test_bad_options_get_a_sentence(options, sentence):
    with pytest.raises(UsageError, match=sentence) as refused:
        objective_from_options(options)
    assert refused.value.exit_code == 2


def test_the_device_table_is_sane():
    assert {"h100", "h200", "a100-80", "a100-40", "b200", "mi300x", "l40s", "4090"} <= set(
        devices()
    )
    assert device("A100_80").peak_flops == 312e12
    single = device("b200").price
    assert single.high / single.low == pytest.approx(2.5)
    assert all(d.price is None or "20" in d.price_source for d in devices().values())
