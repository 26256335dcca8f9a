import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from planner.proxies._noise import NoiseScale
from planner.proxies.gpt import GptProxy
from planner.run import Schedule, Trial
from tests.proxies.recorder import Recorder
from tests.proxies.toy_tokens import write_tokens

CONTEXT = 16


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_tokens(tmp_path_factory.mktemp("tokens"))


@pytest.fixture
def make(data, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("PLANNER_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    return lambda **options: GptProxy(data, context=CONTEXT, head_dim=8, **options)


def trial(windows, steps, **changes):
    batch = windows * CONTEXT
    start = Trial("t", {"width": 8, "depth": 1}, steps * batch, batch, 0.01, 0, seed=3)
    return replace(start, **changes)


def run(proxy, chosen, folder):
    ctx = Recorder(folder)
    return proxy.train(chosen, ctx), ctx.curve


@pytest.mark.parametrize("windows", [1, 4])
def test_measuring_changes_no_number_of_the_training(make, tmp_path, windows):
    chosen = trial(windows, 300)
    plain, curve = run(make(), chosen, tmp_path / "plain")
    measured, both = run(make(noise_scale=True), chosen, tmp_path / "measured")
    assert measured.loss == plain.loss
    for before, after in zip(curve, both, strict=True):
        told = {name for name in before if name not in ("tokens_per_second", "loader_wait")}
        assert {name: after[name] for name in told} == {name: before[name] for name in told}
    assert make().recipe() == make(noise_scale=True).recipe()


def test_the_curve_holds_both_squares_and_the_metrics_both_batches(make, tmp_path):
    outcome, curve = run(make(noise_scale=True), trial(4, 1_200), tmp_path)
    points = [point for point in curve if "grad_sq_small" in point]
    assert len(points) == 50
    assert outcome.metrics["batch_small"] == CONTEXT
    assert outcome.metrics["batch_big"] == 4 * CONTEXT
    assert outcome.metrics["measured_tokens"] == 50 * CONTEXT
    small, big = (np.mean([p[f"grad_sq_{size}"] for p in points]) for size in ("small", "big"))
    assert small > big > 0


def test_a_batch_of_one_window_is_held_against_four_and_few_steps_are_measured(make, tmp_path):
    outcome, curve = run(make(noise_scale=True), trial(1, 1_000), tmp_path)
    points = [point for point in curve if "grad_sq_small" in point]
    assert len(points) == 5, "a fiftieth of the tokens, four windows at a time"
    assert (outcome.metrics["batch_small"], outcome.metrics["batch_big"]) == (16, 64)
    assert np.mean([p["grad_sq_small"] - p["grad_sq_big"] for p in points]) > 0


def test_the_squares_are_those_of_unclipped_mean_gradients(make):
    stepper = make()._stepper(trial(4, 50, clip=1e-3), "cpu")
    noise = NoiseScale(stepper)
    (step, *_) = noise.steps
    other = noise.other_norm(step)
    assert noise.other_norm(step + 1) is None
    _, own = stepper.take(step, 0.0)
    for norm, windows in ((other, 1), (own, 4)):
        batch = torch.from_numpy(stepper.batches.at(step * 4, windows))
        stepper.model.gradient.zero_()
        stepper.model.losses(batch).mean().backward()
        assert math.isclose(norm, stepper.model.gradient.norm(), rel_tol=1e-5)


def test_one_window_s_square_is_larger_by_the_noise_it_does_not_average(make):
    """E |g_B|^2 = |G|^2 + tr Sigma / B: at fixed weights the squares lie on that line."""
    stepper = make()._stepper(trial(4, 10), "cpu")
    squares = {}
    for windows in (1, 2, 4):
        norms = []
        for first in range(0, 480, windows):
            stepper.gradient(first, windows)
            norms.append(float(stepper.model.gradient.norm()) ** 2)
        squares[windows] = np.mean(norms)
    halved = (squares[1] - squares[2]) / (squares[2] - squares[4])
    assert halved == pytest.approx(2.0, rel=0.25)


def test_a_range_test_is_not_measured(make, tmp_path):
    rise = Schedule("finder", final_lr_ratio=1e-4)
    outcome, curve = run(make(noise_scale=True), trial(4, 400, schedule=rise), tmp_path)
    assert not any("grad_sq_big" in point for point in curve)
    assert "batch_big" not in outcome.metrics
