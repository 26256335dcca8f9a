"""What the stages ask for, on planted studies run through the real loop."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from planner.decide.evidence import fit_hyper_of
from planner.ledger import Ledger
from planner.sweep.inline import InlineExecutor
from planner.sweep.loop import prepare, run_sweep, state_of
from planner.sweep.stages.lr_batch import best_batch, edge_lrs, neighbour_lrs, observed_grid
from planner.sweep.state import StudyState
from tests.studies import Silence, small_space


def swept(folder: Path, *overrides: str) -> StudyState:
    setup = prepare(small_space(folder, *overrides))
    with Ledger.open(folder / "study") as ledger:
        run_sweep(setup, ledger, InlineExecutor, Silence())
        return state_of(setup, ledger)


@pytest.fixture(scope="module")
def state(tmp_path_factory) -> StudyState:
    return swept(tmp_path_factory.mktemp("stages"))


def test_the_grid_brackets_the_planted_learning_rate(state):
    grid = observed_grid(state, "lr_batch")
    row = grid[best_batch(grid)]
    lrs = sorted(row)
    best = min(row, key=row.get)
    assert lrs[0] < best < lrs[-1]
    assert not neighbour_lrs(row, 2.0), "the best batch has its x2 neighbours"
    anchor = state.layout.anchor
    truth = state.proxy.truth.best_lr(anchor.size.params_matmul, anchor.tokens, best_batch(grid))
    assert abs(math.log(best / truth)) < math.log(2.1)


def test_a_range_far_too_low_extends_itself_upwards(tmp_path):
    off = ("lr.log=[5e-4,1e-3]", "stages.finder=off", "stages.held_out=off", "stages.confirm=off")
    grid = observed_grid(swept(tmp_path, *off), "lr_batch")
    assert max(max(row) for row in grid.values()) > 5e-3


def test_every_batch_of_the_anchor_sees_the_same_tokens(state):
    assert len({run.tokens for run in state.runs_of("lr_batch")}) == 1


def test_seeds_and_warmup_vary_nothing_else(state):
    grid = {run.key: run for run in state.runs_of("lr_batch")}
    best = min(grid.values(), key=lambda run: run.loss).trial
    assert {run.trial.seed for run in state.runs_of("seeds")} == {1, 2}
    for run in state.runs_of("warmup"):
        assert (run.trial.lr, run.trial.batch_tokens) == (best.lr, best.batch_tokens)
        assert run.trial.warmup_tokens != best.warmup_tokens


def test_weight_decay_is_asked_for_once_round_the_rule_and_only_when_on(state, tmp_path):
    assert not state.runs_of("weight_decay")
    cheap = ("stages.weight_decay=on", "stages.confirm=off", "stages.held_out=off")
    on = swept(tmp_path, *cheap)
    best = min(on.runs_of("lr_batch"), key=lambda run: run.loss).trial
    tried = [run.trial for run in on.runs_of("weight_decay")]
    assert [trial.weight_decay / best.weight_decay for trial in tried] == [0.25, 4.0]
    assert {(trial.lr, trial.batch_tokens, trial.seed) for trial in tried} == {
        (best.lr, best.batch_tokens, best.seed)
    }
    fit = fit_hyper_of(on.runs_by_stage)
    assert fit.decay.measured
    assert (
        fit.cells
        == fit_hyper_of({k: v for k, v in on.runs_by_stage.items() if k != "weight_decay"}).cells
    )


def test_confirmation_is_at_a_larger_size(state):
    sizes = {run.size.params_matmul for run in state.runs_of("confirm")}
    assert len(sizes) == 1
    assert sizes.pop() > state.layout.anchor.size.params_matmul


def test_the_rung_straddles_the_predicted_optimum(state):
    rungs = state.prediction.rungs
    params = [rung.params for rung in rungs]
    assert params == sorted(params)
    assert params[0] < params[1] < params[2]
    assert all(rung.flops == pytest.approx(rungs[0].flops, rel=0.02) for rung in rungs)
    assert state.prediction.flops >= 1.98 * state.layout.c_max


PLAIN = """
from planner.proxies.synthetic import SyntheticProxy


class Plain(SyntheticProxy):
    capabilities = frozenset()
"""


def test_a_proxy_that_cannot_fork_or_range_test_trains_whole_runs(tmp_path):
    path = tmp_path / "plain.py"
    path.write_text(PLAIN)
    more = ("budget.flops=6e13", "stages.held_out=off")
    state = swept(tmp_path, f"proxy.name={path}:Plain", *more)
    assert not state.runs_of("finder")
    assert {run.trial.schedule.name for run in state.runs_of("ladder")} == {"wsd"}
    assert len(state.asked("ladder")) == 1


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ({0.01: 2.0, 0.04: 2.1, 0.16: 2.3}, [0.0025]),
        ({0.01: 2.2, 0.04: 2.1, 0.16: 2.0}, [0.64]),
        ({0.01: 2.2, 0.04: 2.0, 0.16: 2.1}, []),
        ({0.01: 2.2, 0.04: 2.0, 0.16: math.inf}, []),
        ({0.01: math.inf, 0.04: math.inf, 0.16: math.inf}, [0.0025]),
    ],
)
def test_an_edge_asks_for_one_step_beyond_itself(row, wanted):
    assert edge_lrs(row, 4.0) == pytest.approx(wanted, rel=0.1)
