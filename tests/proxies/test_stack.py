"""Stacks: every trial ends as it does alone, and none of them minds what befalls another."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from planner.errors import SpaceError
from planner.proxies._checkpoint import resume_file
from planner.proxies._stack import Stack
from planner.proxies.gpt import GptProxy
from planner.proxy import Preempted, StopTrial
from planner.run import Schedule, Status
from tests.proxies.gpt_trials import BATCH, CONTEXT, Context, trial

TRIALS = [
    trial(200, seed=1),
    trial(200, seed=2, lr=0.02, weight_decay=0.1),
    trial(200, seed=1, warmup_tokens=60 * BATCH, clip=0.1, beta2=0.99),
    trial(200, seed=4, clip=0.0),
]


def contexts(folder, **changes):
    return [Context(folder / str(k), **changes) for k in range(len(TRIALS))]


# Where the learning rate is on the edge, another order of summation alone moves the 50th loss of
# the tied head by 6e-4: there the rates are lower, so that what is left is the stack's own doing.
@pytest.mark.parametrize(
    ("options", "slower"), [({}, 1), ({"parametrization": "mup", "head": "tied"}, 4)]
)
def test_a_stack_takes_the_steps_of_its_trials(data, tmp_path, options, slower):
    proxy = GptProxy(data, context=CONTEXT, head_dim=8, **options)
    trials = [replace(each, lr=each.lr / slower) for each in TRIALS]
    alone = [proxy._stepper(each, "cpu") for each in trials]
    members = [proxy._stepper(each, "cpu") for each in trials]
    stack = Stack(list(zip(members, contexts(tmp_path), strict=True)))
    rates = [training.rates for training in stack.trainings]
    for step in range(50):
        losses, norms = stack.take(step)
        for row, stepper in enumerate(alone):
            loss, norm = stepper.take(step, float(rates[row][step]))
            assert float(losses[row]) == pytest.approx(float(loss), abs=1e-4)
            if step < 5:
                torch.testing.assert_close(
                    stack.gradient[row], stepper.model.gradient, atol=1e-5, rtol=0
                )
                assert float(norms[row]) == pytest.approx(float(norm), rel=1e-4)
    torch.testing.assert_close(stack.flat[1], alone[1].model.flat, atol=2e-3, rtol=0)


def test_trials_end_in_a_stack_as_they_do_alone(proxy, tmp_path):
    stacked, alone = contexts(tmp_path / "stack"), contexts(tmp_path / "alone")
    outcomes = proxy.train_many(TRIALS, stacked)
    singles = [proxy.train(each, ctx) for each, ctx in zip(TRIALS, alone, strict=True)]
    for found, single, ctx, other in zip(outcomes, singles, stacked, alone, strict=True):
        assert found.status is Status.DONE
        assert found.loss == pytest.approx(single.loss, abs=2 * single.loss_se)
        assert found.tokens == single.tokens
        assert ctx.column("tokens") == other.column("tokens")
        np.testing.assert_allclose(ctx.column("loss")[:25], other.column("loss")[:25], atol=1e-4)


def test_one_diverges_one_is_stopped_and_the_others_go_on(proxy, tmp_path):
    run = [TRIALS[0], replace(TRIALS[1], lr=1e4), TRIALS[2], TRIALS[3]]
    ctxs = contexts(tmp_path)
    ctxs[2] = Context(tmp_path / "stopped", patience=10, end=StopTrial)
    found = proxy.train_many(run, ctxs)
    assert [getattr(each, "status", None) for each in found] == [
        Status.DONE,
        Status.DIVERGED,
        None,
        Status.DONE,
    ]
    assert "diverged by" in found[1].note
    assert found[1].tokens < 100 * BATCH
    assert len(ctxs[2].points) == 11
    single = proxy.train(run[0], Context(tmp_path / "alone"))
    assert found[0].loss == pytest.approx(single.loss, abs=2 * single.loss_se)


@pytest.mark.parametrize(("asked", "at"), [({"patience": 30}, 62), ({"steps": 31}, 31)])
def test_a_preempted_stack_leaves_states_its_trials_go_on_from_alone(proxy, tmp_path, asked, at):
    ctxs = contexts(tmp_path)
    ctxs[1] = Context(tmp_path / "1", end=Preempted, **asked)
    with pytest.raises(Preempted):
        proxy.train_many(TRIALS, ctxs)
    for k, each in enumerate(TRIALS):
        assert resume_file(tmp_path / str(k)).stat().st_size < 30_000
        ctx = Context(tmp_path / str(k))
        outcome = proxy.train(each, ctx)
        assert ctx.resumed_at == at * BATCH
        single = proxy.train(each, Context(tmp_path / f"alone-{k}"))
        assert math.isclose(outcome.loss, single.loss, abs_tol=2 * single.loss_se)


def test_what_is_stacked_and_where(data, proxy):
    first, second = TRIALS[:2]
    assert proxy.stack_key(first, "cuda:0") == proxy.stack_key(second, "cuda:0") is not None
    assert proxy.stack_key(replace(first, tokens=10 * BATCH), "cuda:0") != proxy.stack_key(
        first, "cuda:0"
    )
    for other in (
        replace(first, keep_at=(BATCH,)),
        replace(first, parent="trunk", fork_at=BATCH),
        replace(first, schedule=Schedule("finder", final_lr_ratio=1e-3)),
    ):
        assert proxy.stack_key(other, "cuda:0") is None
    asked = GptProxy(data, context=CONTEXT, head_dim=8, stack=32)
    assert [asked.stack_size(first, device) for device in ("cpu", "cuda:0")] == [1, 32]
    assert asked.recipe() == proxy.recipe()
    with pytest.raises(SpaceError, match="1 or more"):
        GptProxy(data, stack=0)
