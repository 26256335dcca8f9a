from dataclasses import replace

import pytest
import torch

from planner.errors import SpaceError
from planner.proxies._model import Gpt
from planner.proxies._optim import ADAM_EPS, adamw, parts
from planner.proxies._parametrization import Multipliers, Parametrization
from planner.run import Trial
from planner.shape import ShapeFamily

FAMILY = ShapeFamily(vocab=50, context=32, head_dim=8)
BASE, WIDE = FAMILY.at_width(16, 2), FAMILY.at_width(48, 6)
TRIAL = Trial("t", {"width": 48, "depth": 6}, 3_200, 320, 0.012, 0, weight_decay=0.1)


def model(shape, name="sp", **given):
    if name != "sp":
        given = {"base_width": 16, **given}
    if name == "completep":
        given = {"base_depth": 2, **given}
    factors = Parametrization.read(name, given).at(shape.width, shape.layers, shape.head_dim)
    return Gpt(shape, 0, multipliers=factors)


def awake(found):
    """The model with every weight at work, those that start at zero too."""
    with torch.no_grad():
        found.flat += 0.1 * torch.randn(len(found.flat), generator=torch.manual_seed(1))
    return found


def tokens(shape):
    return torch.randint(0, shape.vocab, (2, shape.context), generator=torch.manual_seed(2))


def of_tensor(found, name):
    """Learning rate, weight decay and eps the optimizer holds for a named tensor."""
    offset = found.weights[name].storage_offset()
    groups = adamw(found, TRIAL).param_groups
    for part, group in zip(parts(found), groups, strict=True):
        begin, end, _ = part.entries.indices(len(found.flat))
        if begin <= offset < end:
            return group["lr"], group["weight_decay"], group["eps"]
    raise AssertionError(name)


def test_the_factors_at_three_times_the_width_and_depth_are_those_of_the_table():
    mup = Parametrization.read("mup", {"base_width": 16, "alpha_in": 2.0, "alpha_out": 6.0})
    assert mup.at(48, 6, 8) == Multipliers(2.0, 1.0, 2.0, 1 / 8, 1 / 3, 3.0, 1.0)
    complete = Parametrization.read("completep", {"base_width": 16, "base_depth": 2})
    assert complete.at(48, 6, 8) == Multipliers(1.0, 1 / 3, 1 / 3, 1 / 8, 1 / 3, 3.0, 1 / 9)
    assert Parametrization().at(48, 6, 8) == Multipliers()


@pytest.mark.parametrize(
    ("name", "hidden", "eps"),
    [("sp", (0.012, 0.1), 1.0), ("mup", (0.004, 0.3), 1.0), ("completep", (0.004, 0.3), 1 / 9)],
)
def test_every_tensor_gets_its_learning_rate_and_decay(name, hidden, eps):
    found = model(WIDE, name)
    for tensor in found.weights:
        kind = tensor.partition(".")[2] or tensor
        expected = {"head": (0.012, 0.1), "embedding": (0.012, 0.0), "gain": (0.012, 0.0)}
        expected |= dict.fromkeys(("attention_gain", "qk_gain", "ffn_gain"), (0.012, 0.0))
        assert of_tensor(found, tensor) == pytest.approx(
            (*expected.get(kind, hidden), ADAM_EPS * eps)
        )


@pytest.mark.parametrize("name", ["sp", "mup", "completep"])
def test_hidden_matrices_start_at_one_over_root_fan_in_and_tables_at_a_constant(name):
    for shape in (FAMILY.at_width(64, 4), FAMILY.at_width(256, 4)):
        found = model(shape, name)
        assert found.weights["0.qkv"].std().item() == pytest.approx(shape.width**-0.5, rel=0.05)
        assert found.embedding.std().item() == pytest.approx(1.0, rel=0.05)
        zeros = [found.weights[f"0.{kind}"] for kind in ("out", "down")]
        assert not any(weight.any() for weight in (*zeros, found.head))


@pytest.mark.parametrize("name", ["mup", "completep"])
def test_at_the_base_size_all_but_the_attention_scale_is_that_of_sp(name):
    plain, scaled = awake(model(BASE)), awake(model(BASE, name))
    given = tokens(BASE)
    assert not torch.allclose(plain.logits(given), scaled.logits(given), atol=1e-3)
    with torch.no_grad():
        for block in scaled.blocks:
            block.qk_gain[0] *= BASE.head_dim**0.5  # q k' / head_dim becomes q k' / sqrt(head_dim)
    torch.testing.assert_close(plain.logits(given), scaled.logits(given))
    at_base = [tuple(part[1:]) for part in parts(scaled)]
    assert at_base == [tuple(part[1:]) for part in parts(plain)]
    assert parts(scaled)[0].entries == parts(plain)[0].entries


def test_logits_shrink_with_the_width_and_branches_with_the_depth():
    wide = model(replace(WIDE, layers=2), "mup", alpha_out=3.0)
    assert wide.multipliers.logits == 1.0
    plain = Gpt(WIDE, 0, multipliers=Multipliers(logits=1 / 3, attention=1 / 8))
    deep = awake(model(WIDE, "completep"))
    awake(plain)
    given = tokens(WIDE)
    with torch.no_grad():
        for block in plain.blocks:
            block.out.div_(3)
            block.down.div_(3)
        torch.testing.assert_close(plain.logits(given), deep.logits(given), rtol=1e-4, atol=1e-5)


def test_a_first_step_moves_hidden_matrices_by_lr_over_m_and_shrinks_all_alike():
    found = awake(model(WIDE, "mup"))
    before = {name: weight.detach().clone() for name, weight in found.weights.items()}
    found.gradient.fill_(1.0)
    optimizer = adamw(found, TRIAL)
    optimizer.step()
    for name, step in (("0.down", 0.004), ("head", 0.012)):
        moved = before[name] * (1 - 0.012 * 0.1) - step
        torch.testing.assert_close(found.weights[name].detach(), moved)
    torch.testing.assert_close(found.embedding.detach(), before["embedding"] - 0.012)


def test_a_tied_model_has_no_head_of_its_own_to_train():
    found = model(replace(WIDE, tied=True), "mup")
    assert [part.decay for part in parts(found)] == [3.0, 0.0]


@pytest.mark.parametrize(
    ("name", "given", "sentence"),
    [
        ("ntk", {}, "one of sp, mup, completep"),
        ("sp", {"base_width": 32}, "means nothing under parametrization sp"),
        ("mup", {"base_depth": 2}, "write `parametrization: completep`"),
        ("mup", {"base_width": 0}, "a whole number of at least 1"),
        ("mup", {"base_width": 24.5}, "a whole number of at least 1"),
        ("mup", {"alpha_in": "big"}, "a positive number"),
    ],
)
def test_a_choice_that_cannot_be_gets_a_sentence(name, given, sentence):
    with pytest.raises(SpaceError, match=sentence):
        Parametrization.read(name, given)


def test_the_recipe_of_sp_is_what_it_was_and_the_others_name_their_base():
    assert Parametrization().recipe() == {"parametrization": "sp"}
    mup = Parametrization.read("mup", {"base_width": 32, "alpha_out": None}).recipe()
    assert mup == {
        "parametrization": "mup",
        "base_width": 32,
        "alpha_in": 1.0,
        "alpha_out": 1.0,
    }
    assert "base_depth" in Parametrization("completep").recipe()
