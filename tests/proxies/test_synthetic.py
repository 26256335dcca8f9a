from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from planner.errors import SpaceError
from planner.fit.laws import CHINCHILLA
from planner.proxies.synthetic import EDGE, SyntheticProxy
from planner.proxy import ProxySpec, StopTrial, load_proxy
from planner.run import Schedule, Status, Trial
from tests.proxies.recorder import Recorder

WARM = 10**5
"""Warmup long enough to leave no excess; its own cost is switched off where it matters."""


def best_trial(proxy: SyntheticProxy, params: float, tokens: int, **changes: object) -> Trial:
    """Make the trial at the planted optimum."""
    batch = round(float(proxy.truth.best_batch(tokens)))
    lr = float(proxy.truth.best_lr(params, tokens, batch))
    return replace(Trial("x", {"params": params}, tokens, batch, lr, WARM), **changes)


def silent(**options: object) -> SyntheticProxy:
    return SyntheticProxy({}, **({"noise": 0.0, "warmup": {"cost": 0.0}} | options))


def test_the_optimum_costs_the_law_and_everything_else_more(ctx):
    proxy = silent()
    best = best_trial(proxy, 3e4, 2_000_000)
    law = CHINCHILLA.predict(proxy.truth.law.theta, np.array([3e4]), np.array([2e6]))[0]
    assert proxy.train(best, ctx).loss == pytest.approx(law, abs=1e-6)
    worse = [
        replace(best, lr=best.lr * 2),
        replace(best, lr=best.lr / 2),
        replace(best, batch_tokens=best.batch_tokens * 4),
        replace(best, batch_tokens=best.batch_tokens // 4),
        replace(best, warmup_tokens=0),
        replace(best, schedule=Schedule("constant")),
    ]
    assert all(proxy.train(trial, ctx).loss > law + 0.01 for trial in worse)
    high, low = (proxy.train(trial, ctx).loss for trial in worse[:2])
    assert high > low
    for schedule in (Schedule("linear"), Schedule("cosine")):
        same = proxy.train(replace(best, schedule=schedule), ctx).loss
        assert same == pytest.approx(law, abs=1e-6)


def test_the_planted_answers_agree_with_a_search():
    truth = silent().truth
    sizes = np.geomspace(1e3, 1e7, 4001)
    for flops in (1e11, 1e13):
        best = sizes[np.argmin(truth.best_loss(sizes, flops / (6 * sizes)))]
        assert truth.optimal_size(flops) == pytest.approx(best, rel=0.005)
    assert truth.best_lr(truth.lr.params, truth.lr.tokens, truth.best_batch(2e6)) == 0.016
    saturated = truth.best_lr(3e4, 2e6, 1e9) / truth.best_lr(3e4, 2e6, 1e8)
    assert saturated == pytest.approx(1, abs=1e-4)


def test_a_drift_moves_loss_and_optimum_only_beyond_its_start():
    plain = silent().truth
    drift = {"loss_per_decade": 0.1, "ln_n_per_decade": 0.3, "from_flops": 1e12}
    bent = silent(drift=drift).truth
    assert bent.best_loss(1e4, 1e6) == plain.best_loss(1e4, 1e6)
    assert bent.optimal_size(1e13) == pytest.approx(plain.optimal_size(1e13) * math.exp(0.3))
    n = plain.optimal_size(1e13)
    reducible = plain.best_loss(n, 1e13 / (6 * n)) - plain.law.E
    n = bent.optimal_size(1e13)
    assert bent.best_loss(n, 1e13 / (6 * n)) - 1 == pytest.approx(reducible * math.exp(0.1))
    sizes = np.geomspace(1e4, 1e7, 4001)
    found = sizes[np.argmin(bent.best_loss(sizes, 1e13 / (6 * sizes)))]
    assert found == pytest.approx(n, rel=0.005)


def test_noise_belongs_to_the_content_of_a_trial(ctx):
    proxy = SyntheticProxy({}, noise=0.01)
    trials = [best_trial(proxy, 3e4, 2_000_000, seed=seed) for seed in range(400)]
    losses = np.array([proxy.train(trial, ctx).loss for trial in trials])
    assert proxy.train(replace(trials[0], stage="another"), ctx).loss == losses[0]
    assert SyntheticProxy({}, noise=0.01, seed=1).train(trials[0], ctx).loss != losses[0]
    # 400 draws: each bound is missed by chance with probability below 1e-3 (seeds are fixed).
    assert losses.std() == pytest.approx(0.01, rel=0.12)
    assert losses.mean() == pytest.approx(proxy.expected_loss(trials[0]), abs=0.0017)


def test_a_learning_rate_far_too_high_diverges_early(ctx):
    proxy = silent()
    trial = best_trial(proxy, 3e4, 2_000_000)
    outcome = proxy.train(replace(trial, lr=trial.lr * 9), ctx)
    assert outcome.status is Status.DIVERGED
    assert math.isnan(outcome.loss)
    assert outcome.tokens == trial.tokens // 4 == ctx.curve[-1]["tokens"]


def test_a_fork_needs_the_state_its_trunk_left(ctx, tmp_path):
    proxy = silent()
    whole = best_trial(proxy, 3e4, 2_000_000)
    trunk = replace(whole, schedule=Schedule("constant"), keep_at=(1_600_000,))
    fork = replace(whole, parent="trunk", fork_at=1_600_000)
    assert proxy.train(trunk, ctx).status is Status.DONE
    branch = Recorder(tmp_path / "fork", parent=ctx.checkpoint_dir)
    assert proxy.train(fork, branch).loss == pytest.approx(proxy.expected_loss(whole))
    assert branch.curve[0]["tokens"] > fork.fork_at
    orphan = proxy.train(replace(fork, fork_at=800_000), branch)
    assert orphan.status is Status.FAILED
    assert "left no state at 800000 tokens" in orphan.note


def test_the_curve_falls_to_the_final_loss_and_can_be_stopped(ctx):
    proxy = silent()
    trial = best_trial(proxy, 3e4, 2_000_000)
    loss = proxy.train(trial, ctx).loss
    losses = [point["loss"] for point in ctx.curve]
    assert len(losses) == 20
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] == pytest.approx(loss)
    ctx.stop_at = trial.tokens // 2
    with pytest.raises(StopTrial):
        proxy.train(trial, ctx)


def test_the_range_test_blows_up_at_the_planted_edge(ctx):
    proxy = silent()
    trial = replace(
        best_trial(proxy, 3e4, 2_000_000), lr=10.0, schedule=Schedule("finder", 0, 1e-6)
    )
    assert proxy.train(trial, ctx).status is Status.DONE
    rates, losses = (np.array([point[name] for point in ctx.curve]) for name in ("lr", "loss"))
    edge = EDGE * float(proxy.truth.best_lr(3e4, proxy.truth.lr.tokens, trial.batch_tokens))
    assert rates[np.argmin(losses)] == pytest.approx(edge, rel=0.6)
    assert losses[-1] > losses[0]


def test_sizes_are_stated_or_those_of_a_transformer():
    proxy = silent()
    shape = proxy.model_shape({"width": 32, "depth": 2})
    assert proxy.size({"width": 32, "depth": 2}) == shape.size
    assert (shape.vocab, shape.context, shape.layers) == (256, 128, 2)
    assert proxy.size({"params": 1e5}).flops_per_token == 6e5
    assert proxy.model_shape({"params": 1e5}).params_matmul == pytest.approx(1e5, rel=0.5)


def test_every_option_is_part_of_the_recipe_and_wrong_ones_are_named():
    keys = {
        best_trial(silent(), 3e4, 2_000_000).key(silent(**options).recipe())
        for options in ({}, {"seed": 1}, {"noise": 0.1}, {"law": {"E": 2}}, {"batch": {"r": 1}})
    }
    assert len(keys) == 5
    with pytest.raises(SpaceError, match="`law` has no `gamma`; it knows E, A, B, alpha, beta"):
        silent(law={"gamma": 1})
    with pytest.raises(SpaceError, match="`lr` must hold numbers"):
        silent(lr={"optimum": "low"})
    with pytest.raises(SpaceError, match="`noise` is -1"):
        silent(noise=-1)
    assert isinstance(load_proxy(ProxySpec("synthetic")), SyntheticProxy)
