"""The loss law learns from decayed ladder runs alone, and from the rung once it has been judged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from planner.decide.evidence import fit_hyper_of, fit_loss_of, judge_held_out, loss_runs
from planner.finding import Severity
from planner.ledger import Ledger
from planner.sweep.inline import InlineExecutor
from planner.sweep.loop import prepare, run_sweep, state_of
from planner.sweep.state import StudyState
from tests.studies import Silence, small_space


@pytest.fixture(scope="module")
def state(tmp_path_factory) -> StudyState:
    folder = tmp_path_factory.mktemp("evidence")
    setup = prepare(small_space(folder))
    with Ledger.open(folder / "study") as ledger:
        run_sweep(setup, ledger, InlineExecutor, Silence())
        return state_of(setup, ledger)


def test_trunks_grids_and_range_tests_never_enter_the_law(state):
    used = loss_runs(state.runs_by_stage)
    assert {run.trial.schedule.name for run in used} == {"wsd"}
    grid = {run.key for run in state.runs_of("lr_batch")}
    assert not grid & {run.key for run in used}


def test_a_run_is_predicted_with_the_noise_its_seeds_show(state):
    runs = state.runs_by_stage
    loud = tuple(
        replace(run, loss=run.loss + 0.1 * (-1) ** i) for i, run in enumerate(runs["seeds"])
    )
    quiet, noisy = (fit_loss_of(by, fit_hyper_of(by)) for by in (runs, runs | {"seeds": loud}))
    assert noisy.sigma > 3 * quiet.sigma
    assert noisy.params["E"] == pytest.approx(quiet.params["E"], rel=0.1)


def test_scatter_that_own_seeds_explain_is_no_alarm(state):
    runs = state.runs_by_stage
    ladder = tuple(
        replace(run, loss=run.loss * (1 + 0.08 * (-1) ** i)) for i, run in enumerate(runs["ladder"])
    )
    calm, loud = (
        tuple(replace(run, loss=run.loss * (1 + size * (-1) ** i)) for i, run in enumerate(seeds))
        for size, seeds in ((0.0, runs["seeds"]), (0.08, runs["seeds"]))
    )
    alarms = []
    for seeds in (calm, loud):
        by = runs | {"ladder": ladder, "seeds": seeds}
        found = fit_loss_of(by, fit_hyper_of(by)).findings
        (alarm,) = [finding for finding in found if finding.code == "large-scatter"]
        alarms.append(alarm)
    assert [alarm.severity for alarm in alarms] == [Severity.WARNING, Severity.INFO]
    assert all("other seeds scatter" in alarm.what for alarm in alarms)
    assert "mostly chance" in alarms[1].what


def test_the_rung_is_judged_by_size_whatever_the_order_it_ended_in(state):
    runs = state.runs_by_stage
    turned = runs | {"held_out": tuple(reversed(runs["held_out"]))}
    once, again = (judge_held_out(state.prediction, r, 0.01) for r in (runs, turned))
    assert once == again
    assert once is not None


def test_an_unfinished_rung_is_not_judged(state):
    runs = state.runs_by_stage
    assert judge_held_out(state.prediction, runs | {"held_out": runs["held_out"][:2]}, 0.01) is None
    assert judge_held_out(None, runs, 0.01) is None


def test_a_failed_rung_widens_every_interval(state):
    runs = state.runs_by_stage
    off = tuple(replace(run, loss=run.loss * 1.1) for run in runs["held_out"])
    failed = runs | {"held_out": off}
    judgement = judge_held_out(state.prediction, failed, 0.01)
    assert judgement is not None
    assert not judgement.inside98
    wide = fit_loss_of(failed, state.hyper, judgement).loss_draws(np.array([1e6]), np.array([1e8]))
    fair = fit_loss_of(failed, state.hyper).loss_draws(np.array([1e6]), np.array([1e8]))
    assert np.log(wide).std() > 1.5 * np.log(fair).std()
