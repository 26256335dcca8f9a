"""Muon: what it does to a matrix, that it trains, and that nothing else changed for AdamW."""

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from planner.errors import SpaceError
from planner.proxies import _muon, _optim
from planner.proxies._checkpoint import resume_file
from planner.proxies._model import Gpt
from planner.proxies.gpt import GptProxy
from planner.proxy import Preempted
from planner.run import Schedule, Status
from planner.shape import ShapeFamily
from planner.study import read_study
from tests.proxies.gpt_trials import BATCH, CONTEXT, Context, trial

FAMILY = ShapeFamily(vocab=50, context=32, head_dim=8)
SHAPES = [FAMILY.at_width(16, 3), replace(FAMILY, kv_share=2, tied=True).at_width(32, 2)]
EXAMPLE = Path(__file__).parents[2] / "results" / "example"


@pytest.fixture
def muon(data, proxy):
    return GptProxy(data, context=CONTEXT, head_dim=8, optimizer="muon")


def planted(rows: int, columns: int, values: torch.Tensor) -> torch.Tensor:
    """A matrix of given singular values."""
    generator = torch.manual_seed(rows)
    left, _ = torch.linalg.qr(torch.randn(rows, rows, generator=generator))
    right, _ = torch.linalg.qr(torch.randn(columns, rows, generator=generator))
    return left * values @ right.mT


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (16, 40), (64, 64), (96, 256)])
def test_singular_values_of_a_random_matrix_come_to_lie_near_one(rows, columns):
    given = torch.randn(3, rows, columns, generator=torch.manual_seed(1))
    given[0] *= 1e-3
    found = torch.linalg.svdvals(_muon.orthogonalised(given))
    assert found.max() < 1.25
    assert found.quantile(0.1) > 0.65


@pytest.mark.parametrize("condition", [10.0, 100.0])
def test_an_ill_conditioned_matrix_is_evened_and_keeps_its_directions(condition):
    values = torch.logspace(0, -math.log10(condition), 24)
    given = planted(24, 60, values)
    found = _muon.orthogonalised(given[None])[0]
    singular = torch.linalg.svdvals(found)
    assert 0.65 < singular.min() < singular.max() < 1.25
    left, _, right = torch.linalg.svd(given, full_matrices=False)
    exact = left @ right
    alike = (found * exact).sum() / found.norm() / exact.norm()
    assert alike > 0.98


def test_directions_without_gradient_stay_still():
    assert not _muon.orthogonalised(torch.zeros(2, 8, 16)).any()
    weak = _muon.orthogonalised(planted(8, 16, torch.tensor([1.0] * 7 + [1e-6]))[None])
    assert torch.linalg.svdvals(weak).min() < 0.01


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_hidden_matrix_is_moved_by_itself_as_torch_does_it(shape):
    """torch.optim.Muon is the reference; it orthogonalises in bfloat16."""
    model, given = Gpt(shape, 0), trial(lr=0.01, weight_decay=0.1)
    with torch.no_grad():
        model.flat += 0.1 * torch.randn(len(model.flat), generator=torch.manual_seed(1))
    own, shared = shape.attention_width, shape.kv_heads * shape.head_dim
    cuts = {"qkv": [own, shared, shared], "gate_up": [shape.ffn, shape.ffn]}

    def pieces(flat):
        named = {n: w for n, w in model.named(flat).items() if n.partition(".")[2] in (
            "qkv", "out", "gate_up", "down")}  # fmt: skip
        return [
            part
            for name, weight in named.items()
            for part in weight.split(cuts.get(name.partition(".")[2], len(weight)))
        ]

    theirs = [torch.nn.Parameter(piece.detach().clone()) for piece in pieces(model.flat)]
    reference = torch.optim.Muon(theirs, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    optimizer, start = _optim.make_optimizer("muon", model, given), model.flat.clone()
    for seed in range(3):
        model.gradient.copy_(torch.randn(len(start), generator=torch.manual_seed(seed)))
        for parameter, gradient in zip(theirs, pieces(model.gradient), strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()
        reference.step()
    for ours, parameter, before in zip(pieces(model.flat), theirs, pieces(start), strict=True):
        torch.testing.assert_close(ours.detach(), parameter.detach(), atol=1e-3, rtol=0)
        assert (ours - before).square().mean().sqrt() > 0.003


def test_embedding_head_and_gains_move_as_under_adamw():
    shape, given = SHAPES[0], trial(lr=0.01, weight_decay=0.1)
    models = [Gpt(shape, 0), Gpt(shape, 0)]
    for model, name in zip(models, _optim.OPTIMIZERS, strict=True):
        optimizer = _optim.make_optimizer(name, model, given)
        for seed in range(3):
            model.gradient.copy_(torch.randn(len(model.flat), generator=torch.manual_seed(seed)))
            optimizer.step()
    ours, theirs = (model.flat[model.hidden :] for model in models)
    assert torch.equal(ours, theirs)
    assert not torch.equal(models[0].flat, models[1].flat)


def test_a_run_learns_and_the_seed_decides_it(muon, tmp_path):
    start = trial(200, seed=1)
    first, again, other = (
        muon.train(replace(start, seed=seed), Context(tmp_path / str(k)))
        for k, seed in enumerate((1, 1, 2))
    )
    assert first.status is Status.DONE
    assert first.loss < math.log(muon.vocab) - 0.3
    assert first == again != other


def test_a_preempted_run_resumes_bit_for_bit(muon, tmp_path):
    run, whole = trial(200), Context(tmp_path / "whole")
    expected = muon.train(run, whole)
    for patience in (20, 60):
        left = Context(tmp_path / "left", patience=patience, end=Preempted)
        with pytest.raises(Preempted):
            muon.train(run, left)
        assert resume_file(left.checkpoint_dir).exists()
    resumed = Context(tmp_path / "left")
    assert muon.train(run, resumed) == expected
    assert resumed.resumed_at > 0
    assert resumed.column("loss") == whole.column("loss")


def test_a_fork_ends_where_the_straight_run_ends_bit_for_bit(muon, tmp_path):
    cooled = trial(300, schedule=Schedule("wsd", decay_ratio=1 / 3), weight_decay=0.1)
    straight = muon.train(cooled, Context(tmp_path / "straight"))
    keep = (200 * BATCH,)
    trunk = replace(cooled, tokens=200 * BATCH, schedule=Schedule("constant"), keep_at=keep)
    muon.train(trunk, Context(tmp_path / "trunk"))
    fork = replace(cooled, parent="trunk", fork_at=200 * BATCH)
    assert muon.train(fork, Context(tmp_path / "fork", parent=tmp_path / "trunk")) == straight


def test_an_absurd_learning_rate_ends_as_diverged(muon, tmp_path):
    assert muon.train(trial(lr=1e4), Context(tmp_path)).status is Status.DIVERGED


def test_compiled_passes_take_the_same_steps(data, proxy, tmp_path):
    plain, compiled = (
        GptProxy(data, context=CONTEXT, head_dim=8, optimizer="muon", compile=compile)
        for compile in ("off", "on")
    )
    run = trial(60)
    steps = [Context(tmp_path / name) for name in ("plain", "compiled")]
    outcomes = [p.train(run, ctx) for p, ctx in zip((plain, compiled), steps, strict=True)]
    assert outcomes[0].loss == pytest.approx(outcomes[1].loss, abs=2 * outcomes[0].loss_se)
    assert steps[0].column("loss")[:20] == pytest.approx(steps[1].column("loss")[:20], abs=1e-3)


def test_trials_of_muon_are_never_stacked(muon, proxy):
    assert proxy.stack_key(trial(), "cuda:0") is not None
    assert muon.stack_key(trial(), "cuda:0") is None


def test_the_recipe_names_muon_and_says_of_adamw_what_it_always_said(muon, proxy):
    assert _optim.recipe("adamw") == {
        "optimizer": json.loads((EXAMPLE / "env.json").read_text())["recipe"]["optimizer"]
    }
    assert proxy.recipe().keys() == muon.recipe().keys() - {"muon"}
    assert muon.recipe()["optimizer"].startswith("muon")
    assert muon.recipe()["muon"]["momentum"] == 0.95
    assert trial().key(proxy.recipe()) != trial().key(muon.recipe())
    json.dumps(muon.recipe())


def test_finished_trials_of_adamw_keep_their_keys():
    """The example's trials, under what a gpt of the same data says today."""
    study = read_study(EXAMPLE)
    before = study.env["recipe"]
    proxy = GptProxy({"source": "python-source"}, **study.space.proxy.options)
    names = ("vocab", "train_hash", "validation_hash", "unique_tokens", "epochs")
    proxy.__dict__["corpus"] = SimpleNamespace(**{name: before[name] for name in names})
    assert {"proxy": "gpt", **proxy.recipe()} == before
    runs = study.ledger.runs
    assert all(run.trial.key(proxy.recipe()) == key for key, run in runs.items())


@pytest.mark.parametrize("name", ["mup", "completep"])
def test_parametrizations_made_for_adam_are_refused(data, name):
    with pytest.raises(SpaceError, match="parametrization: sp"):
        GptProxy(data, optimizer="muon", parametrization=name)


def test_an_unknown_optimizer_gets_the_list(data):
    with pytest.raises(SpaceError, match="one of adamw, muon"):
        GptProxy(data, optimizer="lion")
