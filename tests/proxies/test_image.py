import math
from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from planner.errors import SpaceError
from planner.proxies._image_model import ImageModel, ImageShape
from planner.proxies.image import ImageProxy
from planner.proxy import Preempted
from planner.run import Schedule, Status
from tests.proxies.gpt_trials import Context
from tests.proxies.image_trials import BATCH, save, trial


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return save(tmp_path_factory.mktemp("pictures") / "set.npz")


@pytest.fixture
def proxy(data):
    return ImageProxy(data)


@pytest.mark.parametrize(("arch", "width"), [("cnn", 4), ("cnn", 12), ("vit", 16), ("vit", 32)])
@pytest.mark.parametrize(("side", "channels", "depth"), [(8, 1, 1), (16, 3, 2)])
def test_parameters_and_flops_are_those_torch_counts(arch, width, side, channels, depth):
    shape = ImageShape(arch, width, depth, side, channels, classes=7)
    model = ImageModel(shape, 0, "cpu")
    with FlopCounterMode(display=False) as counted, sdpa_kernel(SDPBackend.MATH):
        torch.autograd.backward(model.logits(torch.rand(5, channels, side, side)).sum())
    assert shape.size.params_total == model.flat.numel()
    assert shape.size.flops_per_token == counted.get_total_flops() / 5
    matrices = [p for p in model.net.parameters() if p.ndim > 1]
    assert shape.size.params_matmul == sum(p.numel() for p in matrices) == model.decayed


@pytest.mark.parametrize("options", [{}, {"optimizer": "adamw"}, {"optimizer": "lamb"},
                                     {"arch": "vit", "optimizer": "adamw"}])  # fmt: skip
def test_a_run_learns_is_judged_plainly_and_depends_on_its_seed_alone(data, tmp_path, options):
    proxy = ImageProxy(data, **options)
    width = 16 if options.get("arch") == "vit" else 4
    lr = {"sgd": 0.1, "adamw": 0.01, "lamb": 0.05}[options.get("optimizer", "sgd")]
    asked = trial(shape={"width": width, "depth": 1}, lr=lr, weight_decay=0.05)
    first, again, other = (
        proxy.train(replace(asked, seed=seed), Context(tmp_path / name))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first.status is Status.DONE
    assert first.loss < 0.6 * math.log(4)
    assert first.metrics["accuracy"] > 0.6
    assert first.metrics["epochs"] == asked.tokens / proxy.recipe()["unique_tokens"]
    assert first.loss == again.loss != other.loss


def test_a_killed_run_resumes_to_the_same_loss(proxy, tmp_path):
    straight = proxy.train(trial(), Context(tmp_path / "straight"))
    with pytest.raises(Preempted):
        proxy.train(trial(), Context(tmp_path / "killed", patience=40, end=Preempted))
    ctx = Context(tmp_path / "killed")
    assert proxy.train(trial(), ctx) == straight
    assert ctx.resumed_at > 0


def test_a_fork_ends_where_the_straight_run_ends(proxy, tmp_path):
    cooled = trial(schedule=Schedule("wsd", decay_ratio=1 / 3))
    straight = proxy.train(cooled, Context(tmp_path / "straight"))
    trunk = replace(cooled, schedule=Schedule("constant"), keep_at=(100 * BATCH,))
    proxy.train(trunk, Context(tmp_path / "trunk"))
    fork = replace(cooled, parent="trunk", fork_at=100 * BATCH)
    assert proxy.train(fork, Context(tmp_path / "fork", parent=tmp_path / "trunk")) == straight


def test_a_learning_rate_out_of_reach_diverges(data, tmp_path):
    outcome = ImageProxy(data).train(trial(lr=1e6, clip=0.0), Context(tmp_path))
    assert outcome.status is Status.DIVERGED
    assert "diverged by" in outcome.note


def test_fewer_images_are_a_part_of_all_and_generalise_worse(proxy, tmp_path):
    few = trial(shape={"width": 4, "depth": 1, "unique": 12})
    part = proxy.train(few, Context(tmp_path / "part"))
    whole = proxy.train(trial(), Context(tmp_path / "whole"))
    assert part.metrics["unique_tokens"] == 12
    assert part.loss > whole.loss
    with pytest.raises(SpaceError, match="there are"):
        proxy.train(trial(shape={"width": 4, "depth": 1, "unique": 10_000}), Context(tmp_path))


def test_smoothing_changes_the_training_loss_and_not_how_it_is_judged(data, tmp_path):
    plain, smooth = Context(tmp_path / "plain"), Context(tmp_path / "smooth")
    sharp = ImageProxy(data, label_smoothing=0.0).train(trial(), plain)
    soft = ImageProxy(data, label_smoothing=0.3).train(trial(), smooth)
    assert plain.column("loss")[-1] < smooth.column("loss")[-1]
    assert sharp.loss < soft.loss < smooth.column("loss")[-1]
    assert sharp.metrics["least_loss"] == 0.0
    assert soft.metrics["least_loss"] == pytest.approx(-math.log(0.7 + 0.3 / 4))
    assert soft.loss > 0.8 * soft.metrics["least_loss"]


def test_what_cannot_be_is_refused_in_sentences(data):
    for options, said in (
        ({"arch": "rnn"}, "write one of cnn, vit"),
        ({"optimizer": "muon"}, "sgd, adamw, lamb"),
        ({"label_smoothing": 1}, "below 1"),
    ):
        with pytest.raises(SpaceError, match=said):
            ImageProxy(data, **options)
    with pytest.raises(SpaceError, match="a width and a depth"):
        ImageProxy(data).size({"width": 8})
    with pytest.raises(SpaceError, match="no multiple of 4"):
        ImageProxy(data).size({"width": 10, "depth": 1})
    with pytest.raises(SpaceError, match="patches of 3"):
        ImageProxy(data, arch="vit", patch=3).size({"width": 16, "depth": 1})


def test_the_recipe_names_the_unit_and_all_that_is_held_fixed(data):
    recipe = ImageProxy(data).recipe()
    assert recipe["unit"] == "images"
    assert recipe["weight_decay"] > 0
    assert "weight_decay" not in ImageProxy(data, optimizer="adamw").recipe()
    assert recipe != ImageProxy(data, augment="none").recipe()
