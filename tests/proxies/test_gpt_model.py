import math
from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from planner.proxies._model import Gpt
from planner.proxies._optim import adamw, clip_gradient
from planner.run import Trial
from planner.shape import ShapeFamily

FAMILY = ShapeFamily(vocab=256, context=128, head_dim=16)
SHAPES = [
    FAMILY.at_width(16, 1),
    FAMILY.at_width(16, 2),
    FAMILY.at_width(32, 2),
    FAMILY.at_width(48, 2),
    FAMILY.at_width(64, 4),
    FAMILY.at_width(96, 3),
    FAMILY.at_width(128, 2),
    replace(FAMILY, head_dim=8).at_width(24, 2),
    replace(FAMILY, head_dim=32).at_width(64, 2),
    replace(FAMILY, kv_share=2).at_width(64, 2),
    replace(FAMILY, kv_share=4).at_width(64, 3),
    replace(FAMILY, tied=True).at_width(32, 2),
    replace(FAMILY, tied=True, vocab=1000).at_width(48, 2),
    replace(FAMILY, context=64, vocab=97).at_width(32, 5),
]
SMALL = ShapeFamily(vocab=50, context=32, head_dim=8, kv_share=2).at_width(16, 2)
TRIAL = Trial("t", {"width": 16, "depth": 2}, 3_200, 320, 0.01, 0, weight_decay=0.1)


def some_windows(shape, count=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, shape.vocab, (count, shape.context + 1), generator=generator)


def scattered(shape):
    """A model whose weights are all at work: zero-initialised ones too."""
    model = Gpt(shape, 0)
    with torch.no_grad():
        model.flat += 0.1 * torch.randn(len(model.flat), generator=torch.manual_seed(1))
    return model


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_parameters_and_flops_are_those_of_the_shape(shape):
    model = Gpt(shape, 0)
    assert sum(weight.numel() for weight in model.weights.values()) == shape.params_total
    assert model.flat.numel() == shape.params_total
    windows = some_windows(shape, 2)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.losses(windows).sum().backward()
    per_token = counter.get_total_flops() / (2 * shape.context)
    assert per_token == pytest.approx(shape.size.flops_per_token, rel=0.02)


@pytest.mark.parametrize("tied", [False, True])
def test_the_first_loss_is_ln_vocab(tied):
    shape = replace(FAMILY, tied=tied).at_width(64, 2)
    loss = Gpt(shape, 0).losses(some_windows(shape)).mean().item()
    assert loss == pytest.approx(math.log(256), rel=1e-5 if not tied else 0.02)


def test_a_token_sees_nothing_that_comes_after_it():
    model, tokens = scattered(SMALL), some_windows(SMALL)[:, :-1]
    changed = tokens.clone()
    changed[:, 20:] = (changed[:, 20:] + 1) % SMALL.vocab
    with torch.no_grad():
        before, after = model.logits(tokens), model.logits(changed)
    assert torch.allclose(before[:, :20], after[:, :20], atol=1e-5)
    assert not torch.allclose(before[:, 20:], after[:, 20:], atol=1e-2)


def test_attention_knows_the_distance_of_two_tokens_but_not_their_place():
    shape = replace(SMALL, layers=1)
    model = scattered(shape)
    tokens = some_windows(shape)[:1, :8]
    cos, sin = model.cos.clone(), model.sin.clone()
    with torch.no_grad():
        first = model.logits(tokens)
        model.cos, model.sin = cos[5:], sin[5:]
        assert torch.allclose(model.logits(tokens), first, atol=1e-4)
        model.cos, model.sin = torch.ones_like(cos), torch.zeros_like(sin)
        assert not torch.allclose(model.logits(tokens), first, atol=1e-3)


def test_one_batch_is_learned_by_heart():
    model, windows = Gpt(SMALL, 0), some_windows(SMALL, 2)
    optimizer = adamw(model, replace(TRIAL, weight_decay=0.0))
    for _ in range(300):
        model.gradient.zero_()
        loss = model.losses(windows).mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


def test_every_gradient_lies_in_the_flat_buffer():
    model = scattered(SMALL)
    model.losses(some_windows(SMALL)).mean().backward()
    apart = torch.cat([weight.grad.flatten() for weight in model.weights.values()])
    assert torch.equal(model.gradient, apart)
    assert all(weight.grad.abs().sum() > 0 for weight in model.weights.values())


def test_only_matrices_decay():
    model = scattered(SMALL)
    before = {name: weight.detach().clone() for name, weight in model.weights.items()}
    adamw(model, TRIAL).step()
    for name, weight in model.weights.items():
        still = name == "embedding" or name.endswith("gain")
        factor = 1.0 if still else 1 - TRIAL.lr * TRIAL.weight_decay
        torch.testing.assert_close(weight.detach(), before[name] * factor)


def test_clipping_scales_to_the_global_norm_and_leaves_small_gradients_alone():
    gradient = torch.tensor([3.0, 4.0])
    assert clip_gradient(gradient, 1.0).item() == pytest.approx(5.0)
    torch.testing.assert_close(gradient, torch.tensor([0.6, 0.8]))
    clip_gradient(gradient, 2.0)
    torch.testing.assert_close(gradient, torch.tensor([0.6, 0.8]))


def test_the_initial_weights_depend_on_the_seed_alone():
    assert torch.equal(Gpt(SMALL, 3).flat, Gpt(SMALL, 3).flat)
    assert not torch.equal(Gpt(SMALL, 3).flat, Gpt(SMALL, 4).flat)
