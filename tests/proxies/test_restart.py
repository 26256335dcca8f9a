"""Killed, preempted, damaged or short of memory: a gpt trial ends where it would have ended."""

import hashlib
import io
import math
from itertools import count
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
import torch

from planner.errors import UsageError
from planner.proxies._checkpoint import kept_file, previous_file, resume_file
from planner.proxies._model import Gpt
from planner.proxies.gpt import GptProxy
from planner.proxy import Preempted, StopTrial
from planner.run import Schedule, Status
from tests.proxies.gpt_trials import BATCH, CONTEXT, STEPS, Context, trial


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
    for _ in range(3):
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


def test_wanted_back_between_two_reports_it_leaves_at_that_step(proxy, tmp_path):
    whole = Context(tmp_path / "whole")
    expected = proxy.train(trial(), whole)
    reached = 0
    for steps in (7, 1, 333):
        ctx = Context(tmp_path / "left", end=Preempted, steps=steps)
        with pytest.raises(Preempted, match="wanted back"):
            proxy.train(trial(), ctx)
        assert ctx.resumed_at == reached * BATCH
        reached += steps
    ctx = Context(tmp_path / "left")
    assert proxy.train(trial(), ctx) == expected
    assert ctx.resumed_at == reached * BATCH
    for name in ("tokens", "loss", "lr", "grad_norm", "clip_share"):
        assert ctx.column(name) == whole.column(name)


def test_the_first_report_of_an_attempt_counts_its_own_steps_alone(proxy, tmp_path, monkeypatch):
    with pytest.raises(Preempted):
        proxy.train(trial(), Context(tmp_path, end=Preempted, steps=7))
    ticks = count(0.0, 0.5)
    clock = SimpleNamespace(perf_counter=lambda: next(ticks), monotonic=lambda: 0.0)
    monkeypatch.setattr("planner.proxies._loop.time", clock)
    ctx = Context(tmp_path)
    proxy.train(trial(), ctx)
    assert ctx.column("tokens_per_second")[:2] == [3 * BATCH / 0.5, 10 * BATCH / 0.5]


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
