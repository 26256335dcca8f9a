"""Compiled trials: who is compiled, that nothing but rounding changes, and what happens without."""

import logging

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

from planner.errors import SpaceError
from planner.proxies import _compile
from planner.proxies._compile import compiled, pass_windows, pays
from planner.proxies.gpt import GptProxy
from planner.proxy import Preempted
from planner.run import Status
from planner.shape import ShapeFamily
from tests.proxies.gpt_trials import BATCH, CONTEXT, Context, trial

FAMILY = ShapeFamily(vocab=256, context=128, head_dim=16)


@pytest.fixture
def fresh():
    """Forget what other tests compiled, and what this one does."""
    _compile._compiled.cache_clear()
    torch.compiler.reset()
    counters.clear()
    yield
    _compile._compiled.cache_clear()
    torch.compiler.reset()


def test_a_pass_is_an_equal_part_of_the_batch():
    assert [pass_windows(count, 128) for count in (1, 2, 3, 4, 6, 16)] == [1, 2, 3, 4, 3, 4]
    assert pass_windows(7, 128) == 1
    assert pass_windows(4, 2048) == 1
    assert pass_windows(4, 128, 256) == 2


def test_long_trials_are_compiled_and_short_ones_are_not():
    shape = FAMILY.at_width(32, 2)
    assert not pays(shape, 1, 38_400)
    assert pays(shape, 1, 2_000_000)
    assert not pays(shape, 4, 2_000_000)
    assert pays(shape, 4, 4_000_000)


def test_trials_alike_earn_a_compilation_together_but_each_must_earn_its_loading():
    shape = FAMILY.at_width(32, 2)
    assert not pays(shape, 1, 500_000)
    assert not pays(shape, 1, 500_000, together=1_000_000)
    assert pays(shape, 1, 500_000, together=1_500_000)
    assert not pays(shape, 1, 38_400, together=100_000_000)


def test_only_trials_of_the_same_pass_are_counted(data, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "planner.proxies.gpt.pays", lambda *given: asked.append(given[1:]) and False
    )
    proxy = GptProxy(data, context=CONTEXT, head_dim=8)
    alike = {8: 1, BATCH: 10, 2 * BATCH: 100, 32 * CONTEXT: 1_000, 64 * CONTEXT: 10_000}
    assert proxy._stepper(trial(20), "cpu", alike).code is None
    assert proxy._stepper(trial(20, batch_tokens=64 * CONTEXT), "cpu", alike).code is None
    assert asked == [(4, 20 * BATCH, 10), (32, 20 * BATCH, 11_000)]


def test_the_option_is_checked_and_is_not_part_of_the_recipe(data, proxy):
    with pytest.raises(SpaceError, match="auto, on, off"):
        GptProxy(data, context=CONTEXT, compile="always")
    assert GptProxy(data, compile=True).compile == "on"
    forced = GptProxy(data, context=CONTEXT, head_dim=8, compile="on")
    assert forced.recipe() == proxy.recipe()


def test_compiled_trials_end_alike_share_their_code_and_resume_to_the_bit(
    fresh, data, proxy, tmp_path
):
    fast = GptProxy(data, context=CONTEXT, head_dim=8, compile="on")
    run = trial(50)
    plain, quick = Context(tmp_path / "plain"), Context(tmp_path / "quick")
    expected, outcome = proxy.train(run, plain), fast.train(run, quick)
    np.testing.assert_allclose(quick.column("loss"), plain.column("loss"), rtol=1e-4)
    assert outcome.loss == pytest.approx(expected.loss, rel=1e-3)
    assert (outcome.metrics["compiled"], "compiled" in expected.metrics) == (1.0, False)
    assert fast.compiles(run, "cpu", {}), "what it says before is what it does"
    assert not proxy.compiles(run, "cpu", {})
    other = trial(50, batch_tokens=BATCH, lr=0.02, seed=5)
    assert fast.train(other, Context(tmp_path / "other")).status is Status.DONE
    assert counters["stats"]["unique_graphs"] == 1
    with pytest.raises(Preempted):
        fast.train(run, Context(tmp_path / "half", patience=25, end=Preempted))
    assert fast.train(run, resumed := Context(tmp_path / "half")) == outcome
    assert resumed.resumed_at > 20 * BATCH


def test_bf16_on_a_cpu_stays_near_fp32_and_says_how_near(data, proxy, tmp_path):
    half = GptProxy(data, context=CONTEXT, head_dim=8, precision="bf16")
    outcome = half.train(trial(50), Context(tmp_path / "half"))
    expected = proxy.train(trial(50), Context(tmp_path / "whole"))
    assert outcome.loss == pytest.approx(expected.loss, rel=0.02)
    assert abs(outcome.metrics["bf16_gap"]) < 0.01


def test_without_a_compiler_a_trial_is_trained_all_the_same(
    fresh, data, proxy, tmp_path, monkeypatch, caplog
):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (str(tmp_path / "no-compiler"),))
    monkeypatch.setattr("torch._inductor.config.force_disable_caches", True)
    fast = GptProxy(data, context=CONTEXT, head_dim=8, compile="on")
    with caplog.at_level(logging.WARNING):
        outcomes = [fast.train(trial(20), Context(tmp_path / name)) for name in "ab"]
    assert outcomes[0] == outcomes[1] == proxy.train(trial(20), Context(tmp_path / "plain"))
    assert len(caplog.records) == 1
    assert "goes on without compiled code" in caplog.text
    model = fast._stepper(trial(20), "cpu").model
    assert compiled(model, windows=4, bf16=False).broken
