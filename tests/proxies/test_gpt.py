import hashlib
import io
import math
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from planner.errors import SpaceError, UsageError
from planner.proxies._checkpoint import kept_file, previous_file, resume_file
from planner.proxies._loop import Monitor
from planner.proxies._model import Gpt
from planner.proxies.gpt import GptProxy
from planner.proxy import Preempted, StopTrial
from planner.run import Schedule, Status, Trial
from tests.proxies.toy_tokens import write_tokens

CONTEXT, BATCH = 16, 64
STEPS = 1_000


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_tokens(tmp_path_factory.mktemp("tokens"))


@pytest.fixture
def proxy(data, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("PLANNER_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    return GptProxy(data, context=CONTEXT, head_dim=8)


class Context:
    """What a worker gives a trial; stops it after ``patience`` reports, as a kill would."""

    def __init__(self, folder, parent=None, patience=math.inf, end=StopTrial):
        self.checkpoint_dir, self.parent, self.device = Path(folder), parent, "cpu"
        self.points, self.patience, self.end = [], patience, end
        self.resumed_at = 0

    def report(self, **values):
        self.points.append(values)
        if len(self.points) > self.patience:
            raise self.end("killed")

    def resumed(self, tokens):
        self.resumed_at = tokens

    def column(self, name):
        return [point[name] for point in self.points]


def trial(steps=STEPS, **changes):
    start = Trial("t", {"width": 8, "depth": 1}, steps * BATCH, BATCH, 0.01, 20 * BATCH, seed=3)
    return replace(start, **changes)


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


def test_a_killed_run_resumes_bit_for_bit(proxy, tmp_path):
    whole = Context(tmp_path / "whole")
    expected = proxy.train(trial(), whole)
    killed, resumed = (Context(tmp_path / "killed", patience=n) for n in (63, math.inf))
    with pytest.raises(StopTrial):
        proxy.train(trial(), killed)
    assert resume_file(killed.checkpoint_dir).exists()
    assert proxy.train(trial(), resumed) == expected
    assert resumed.resumed_at == STEPS // 2 * BATCH
    assert resumed.column("loss") == whole.column("loss")
    assert not list(resumed.checkpoint_dir.iterdir())


@pytest.mark.parametrize("schedule", ["wsd", "finder"])
@pytest.mark.parametrize("end", [StopTrial, Preempted])
def test_killed_or_preempted_anywhere_it_ends_at_the_same_curve(
    proxy, tmp_path, monkeypatch, schedule, end
):
    """With a save at every report; a kill loses the report it struck, a preemption nothing."""
    monkeypatch.setattr("planner.proxies._loop.SAVE_SECONDS", 0.0)
    monkeypatch.setattr("planner.proxies._loop.SAVE_SHARE", math.inf)
    run, rng, reached = trial(120, schedule=Schedule(schedule, final_lr_ratio=1e-3)), Random(5), 0
    whole = Context(tmp_path / "whole")
    expected = proxy.train(run, whole)
    for _ in range(4):
        patience = reached + rng.randrange(3, 25)
        ctx = Context(tmp_path / "killed", patience=patience, end=end)
        with pytest.raises(end):
            proxy.train(run, ctx)
        assert ctx.resumed_at == reached * BATCH
        reached = patience + (end is Preempted)
    ctx = Context(tmp_path / "killed")
    assert repr(proxy.train(run, ctx)) == repr(expected)
    assert ctx.resumed_at == reached * BATCH
    for name in ("tokens", "loss", "lr", "grad_norm"):
        assert ctx.column(name) == whole.column(name)


def test_a_run_that_was_preempted_as_it_diverged_does_not_train_on(proxy, tmp_path):
    rise = Schedule("finder", final_lr_ratio=1e-9)
    run = trial(400, lr=1e4, schedule=rise, warmup_tokens=0)
    whole = Context(tmp_path / "whole")
    expected = proxy.train(run, whole)
    last = Context(tmp_path / "left", patience=len(whole.points) - 1, end=Preempted)
    with pytest.raises(Preempted):
        proxy.train(run, last)
    assert repr(proxy.train(run, Context(tmp_path / "left"))) == repr(expected)


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


class Attack:
    def __reduce__(self):
        return (Path.touch, (Path("attacked"),))


def attack(path):
    content = io.BytesIO()
    torch.save({"flat": Attack()}, content)
    digest = hashlib.sha256(content.getbuffer()).digest()
    path.write_bytes(digest + content.getvalue())


@pytest.mark.parametrize("damage", [cut, flip, empty, attack])
def test_a_damaged_state_is_told_and_the_one_before_it_taken(proxy, tmp_path, monkeypatch, damage):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("planner.proxies._loop.SAVE_SECONDS", 0.0)
    monkeypatch.setattr("planner.proxies._loop.SAVE_SHARE", math.inf)
    expected = proxy.train(trial(50), Context(tmp_path / "whole"))
    killed = Context(tmp_path / "killed", patience=30)
    with pytest.raises(StopTrial):
        proxy.train(trial(50), killed)
    damage(resume_file(killed.checkpoint_dir))
    again = Context(tmp_path / "killed", patience=32)
    with pytest.raises(StopTrial):
        proxy.train(trial(50), again)
    assert again.resumed_at == 29 * BATCH
    damage(resume_file(killed.checkpoint_dir))
    damage(previous_file(killed.checkpoint_dir))
    outcome = proxy.train(trial(50), Context(tmp_path / "killed"))
    assert (outcome.loss, outcome.loss_se) == (expected.loss, expected.loss_se)
    assert "resume.pt was damaged" in outcome.note
    assert "began anew" in outcome.note
    assert not (tmp_path / "attacked").exists()


def test_a_fork_off_a_damaged_trunk_is_refused(proxy, tmp_path):
    trunk = trial(300, schedule=Schedule("constant"), keep_at=(240 * BATCH,))
    proxy.train(trunk, Context(tmp_path / "trunk"))
    flip(kept_file(tmp_path / "trunk", 240 * BATCH))
    fork = trial(300, parent="trunk", fork_at=240 * BATCH)
    with pytest.raises(UsageError, match="damaged"):
        proxy.train(fork, Context(tmp_path / "fork", parent=tmp_path / "trunk"))


def test_a_disk_that_refuses_a_state_costs_no_trial(proxy, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("planner.proxies._loop._checkpoint.save", refuse)
    outcome = proxy.train(trial(), Context(tmp_path))
    assert outcome.status is Status.DONE
    assert "could not be saved at step 750: No space left on device" in outcome.note


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_too_little_memory_halves_the_micro_batch_and_nothing_else(
    data, proxy, tmp_path, monkeypatch, error
):
    """The loss is that of a run with the small micro-batch from the start, to the last bit."""
    small = GptProxy(data, context=CONTEXT, head_dim=8, micro_tokens=CONTEXT)
    expected = small.train(trial(50), Context(tmp_path / "small"))
    whole = proxy.train(trial(50), Context(tmp_path / "whole"))
    losses = Gpt.losses

    def cramped(self, windows):
        if len(windows) > 1:
            raise error
        return losses(self, windows)

    monkeypatch.setattr(Gpt, "losses", cramped)
    outcome = proxy.train(trial(50), Context(tmp_path / "cramped"))
    assert outcome.metrics["micro_tokens"] == CONTEXT
    assert "16 tokens at a time" in outcome.note
    assert outcome.loss == pytest.approx(expected.loss, rel=1e-6)
    assert outcome.loss == pytest.approx(whole.loss, rel=1e-3)


def test_memory_for_not_even_one_window_is_a_failure(proxy, tmp_path, monkeypatch):
    def none(self, windows):
        raise MemoryError

    monkeypatch.setattr(Gpt, "losses", none)
    with pytest.raises(MemoryError):
        proxy.train(trial(50), Context(tmp_path))


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
