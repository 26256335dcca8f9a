import math
from dataclasses import replace

import numpy as np
import pytest

from planner.errors import SpaceError, UsageError
from planner.proxies._checkpoint import resume_file
from planner.proxies._loop import Monitor
from planner.proxies.gpt import GptProxy
from planner.run import Schedule, Status
from tests.proxies.gpt_trials import BATCH, CONTEXT, STEPS, Context, trial


def test_a_run_learns_and_reports_about_every_hundredth(proxy, tmp_path):
    ctx = Context(tmp_path)
    outcome = proxy.train(trial(weight_decay=0.1), ctx)
    assert outcome.status is Status.DONE
    assert math.log(2) - 0.05 < outcome.loss < 1.2
    assert 0 < outcome.loss_se < 0.05
    assert outcome.tokens == STEPS * BATCH == ctx.points[-1]["tokens"]
    assert 95 <= len(ctx.points) <= 110
    assert ctx.points[0]["loss"] > ctx.points[-1]["loss"]
    assert min(ctx.column("grad_norm")) > 0
    assert all(0 <= share <= 1 for share in ctx.column("clip_share"))
    assert not resume_file(tmp_path).exists()


def test_the_seed_decides_the_run_and_nothing_else_does(proxy, tmp_path):
    losses = [
        proxy.train(trial(100, seed=seed), Context(tmp_path / name)).loss
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert losses[0] == losses[1] != losses[2]


def test_a_fork_ends_where_the_straight_run_ends_bit_for_bit(proxy, tmp_path):
    cooled = trial(300, schedule=Schedule("wsd", decay_ratio=1 / 3), weight_decay=0.1)
    straight = proxy.train(cooled, Context(tmp_path / "straight"))
    keep = (200 * BATCH, 350 * BATCH)
    trunk = replace(cooled, tokens=400 * BATCH, schedule=Schedule("constant"), keep_at=keep)
    proxy.train(trunk, Context(tmp_path / "trunk"))
    fork = replace(cooled, parent="trunk", fork_at=200 * BATCH)
    ctx = Context(tmp_path / "fork", parent=tmp_path / "trunk")
    assert proxy.train(fork, ctx) == straight
    assert ctx.points[0]["tokens"] > fork.fork_at


def test_a_fork_without_its_trunk_or_off_its_path_is_refused(proxy, tmp_path):
    fork = trial(300, parent="trunk", fork_at=240 * BATCH)
    with pytest.raises(UsageError, match="keep_at"):
        proxy.train(fork, Context(tmp_path / "fork", parent=tmp_path / "trunk"))
    trunk = trial(300, schedule=Schedule("constant"), keep_at=(240 * BATCH,))
    proxy.train(trunk, Context(tmp_path / "trunk"))
    other = replace(fork, lr=0.02)
    with pytest.raises(UsageError, match="another path"):
        proxy.train(other, Context(tmp_path / "fork", parent=tmp_path / "trunk"))
    early = replace(fork, schedule=Schedule("wsd", decay_ratio=0.5))
    with pytest.raises(SpaceError, match="cooldown"):
        proxy.train(early, Context(tmp_path / "fork", parent=tmp_path / "trunk"))


def test_accumulated_batches_give_the_gradient_of_the_whole_batch(data, proxy, tmp_path):
    parts = GptProxy(data, context=CONTEXT, head_dim=8, micro_tokens=CONTEXT)
    whole, split = Context(tmp_path / "whole"), Context(tmp_path / "split")
    run = trial(50)
    proxy.train(run, whole)
    parts.train(run, split)
    np.testing.assert_allclose(split.column("loss"), whole.column("loss"), rtol=1e-4)
    np.testing.assert_allclose(split.column("grad_norm")[:5], whole.column("grad_norm")[:5], 1e-4)


def test_an_absurd_learning_rate_ends_as_diverged_and_says_where(proxy, tmp_path):
    outcome = proxy.train(trial(lr=1e4), Context(tmp_path))
    assert outcome.status is Status.DIVERGED
    assert math.isnan(outcome.loss)
    assert outcome.tokens < STEPS * BATCH / 2
    assert "tokens at a learning rate of" in outcome.note


def test_the_finder_ends_early_without_error_and_leaves_a_fine_curve(proxy, tmp_path):
    ctx = Context(tmp_path)
    rise = Schedule("finder", final_lr_ratio=1e-9)
    outcome = proxy.train(trial(400, lr=1e4, schedule=rise, warmup_tokens=0), ctx)
    assert outcome.status is Status.DONE
    assert 200 < len(ctx.points) <= 400
    assert outcome.tokens == ctx.points[-1]["tokens"]
    assert np.all(np.diff(np.log(ctx.column("lr"))) > 0)


def test_the_monitor_forgives_a_spike_and_not_a_plateau():
    monitor = Monitor()
    assert monitor.see([5.0] + [2.0] * 9) == 0
    assert monitor.see([9.0] * 19 + [2.0]) == 0
    assert monitor.see([9.0] * 10) == 0
    assert monitor.see([9.0] * 30) == 10
    assert Monitor().see([5.0, math.nan]) == 2


def test_a_fast_first_descent_is_no_divergence():
    descent = [5.5] * 25 + [4.0] * 50 + [3.0] * 100
    assert Monitor().see(descent) == 0


def test_the_recipe_names_everything_a_loss_depends_on(data, proxy):
    recipe = proxy.recipe()
    assert recipe["train_hash"] != recipe["validation_hash"]
    tied = GptProxy(data, context=CONTEXT, head_dim=8, head="tied")
    assert trial().key(tied.recipe()) != trial().key(recipe)


def test_size_is_that_of_the_model_shape(proxy):
    shape = proxy.model_shape({"width": 16, "depth": 2})
    assert (shape.vocab, shape.context, shape.heads) == (14, CONTEXT, 2)
    assert proxy.size({"width": 16, "depth": 2}) == shape.size


@pytest.mark.parametrize(
    "options", [{"parametrization": "ntk"}, {"head": "none"}, {"precision": "fp8"}]
)
def test_an_unknown_option_gets_a_sentence(data, options):
    with pytest.raises(SpaceError, match="write"):
        GptProxy(data, **options)


def test_impossible_sizes_and_batches_get_a_sentence(proxy, tmp_path):
    with pytest.raises(SpaceError, match="multiple of head_dim"):
        proxy.size({"width": 12, "depth": 2})
    with pytest.raises(SpaceError, match="a width and a depth"):
        proxy.size({"params": 1e6})
    with pytest.raises(SpaceError, match="whole windows of context"):
        proxy.train(trial(batch_tokens=40), Context(tmp_path))
