from __future__ import annotations

from dataclasses import replace

from planner.report.content import Table
from planner.report.figures import FIGURES
from planner.report.fits import loss_law, prediction
from planner.report.hyper import hyperparameters

PICTURES = dict.fromkeys(FIGURES)


def _table(section):
    return next(block for block in section.blocks if block.kind == "table")


def test_the_law_shows_every_parameter_with_an_interval(study):
    rows = {row[0]: row[1] for row in _table(loss_law(study, PICTURES)).rows}
    assert set(rows) == {"E", "A", "B", "alpha", "beta"}
    assert all("[" in value for value in rows.values())


def test_a_wider_miss_costs_more_and_absurd_ratios_are_not_written(study):
    curvy = replace(study.hyper.k_high, value=5.0, high=9.0)
    section = hyperparameters(replace(study, hyper=replace(study.hyper, k_high=curvy)), PICTURES)
    (*_, rows) = (block for block in section.blocks if isinstance(block, Table))
    costs = {(what, off): (float(nats), more) for what, off, nats, more in rows.rows}
    assert costs["Learning rate", "4 x the best"][0] > costs["Learning rate", "2 x the best"][0]
    assert costs["Learning rate", "4 x the best"][1] == "more than x10"


def test_the_prediction_stands_beside_what_was_measured(study):
    table = _table(prediction(study, PICTURES))
    measured = {f"{run.loss:.4f}" for run in study.in_stage("held_out")}
    assert {row[table.head.index("Measured")] for row in table.rows} == measured


def test_a_rung_that_has_not_run_is_shown_as_predicted_only(study):
    waiting = replace(study, runs=(), judgement=None, plan=replace(study.plan, held_out=None))
    section = prediction(waiting, PICTURES)
    assert all("not measured" in row for row in _table(section).rows)
    assert any("has not been trained" in getattr(block, "text", "") for block in section.blocks)


def test_every_law_s_parameter_says_what_is_published_and_what_is_own(study):
    rows = _table(hyperparameters(study, PICTURES)).rows
    assert len(rows) == len(study.hyper.lr_law.mean) + 2
    shares = {name: share for name, _, _, share in rows}
    assert shares["q: exponent of tokens"] == "0.0 %"
    assert shares["a: learning rate at the anchor, large batches"] != "0.0 %"


def test_diverged_trials_are_said_to_count_as_bounds(study):
    opening = hyperparameters(study, PICTURES).blocks[0].text
    lost = sum(run.status.value == "diverged" for run in study.runs)
    assert f" {lost} of " in opening
    assert "count as bounds" in opening
