"""A planted study: a ladder on a known law, learning-rate grids, a held-out rung, and its plan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from planner.finding import Finding, Severity
from planner.fit.engine import fit_loss
from planner.fit.held_out import judge, predict_held_out
from planner.fit.transfer import fit_hyper
from planner.observations import Observations
from planner.plan.make import Evidence, make_plan
from planner.plan.objective import objective_from_options
from planner.report.study import ReportInput, StageSummary
from planner.run import Run, Status, Trial
from planner.shape import ModelShape, ShapeFamily

FAMILY = ShapeFamily(vocab=256, context=128, head_dim=16, depth=2)
NOISE = 0.003


def _loss(params, tokens, rng):
    surface = 0.9 + 60 * params**-0.35 + 400 * tokens**-0.37
    return float(surface * np.exp(NOISE * rng.normal()))


def _run(stage, shape: ModelShape, trial: dict, loss: float, note: str = "") -> Run:
    values = {"batch_tokens": 512, "lr": 0.016, "warmup_tokens": 51_200} | trial
    made = Trial(stage, {"width": shape.width, "depth": 2}, **values)
    status = Status.DONE if np.isfinite(loss) else Status.DIVERGED
    spent = shape.size.flops(made.new_tokens)
    return Run(
        made, made.key({}), status, loss, 0.002, shape.size, made.tokens, spent, 60.0, note=note
    )


def _ladder(rng):
    for width in (16, 32, 48, 64, 80):
        shape = FAMILY.at_width(width)
        for tokens in (1_000_000, 2_000_000, 4_000_000, 8_000_000):
            yield _run("ladder", shape, {"tokens": tokens}, _loss(shape.params_matmul, tokens, rng))


def _grid(rng):
    shape, tokens = FAMILY.at_width(48), 2_000_000
    for batch, best in ((256, 0.012), (1024, 0.017), (4096, 0.026)):
        for lr in 0.002 * 2.0 ** np.arange(6):
            rise = 0.03 * np.log(lr / best) ** 2 + 0.02 * np.log(batch / 500) ** 2
            lost = lr > 4 * best
            loss = np.nan if lost else _loss(shape.params_matmul, tokens, rng) + rise
            settings = {"tokens": tokens, "lr": float(lr), "batch_tokens": batch}
            note = "diverged at token 120,000: loss above ln(vocab)" if lost else ""
            yield _run("lr_batch", shape, settings, loss, note)
    for seed in (1, 2, 3):
        settings = {"tokens": tokens, "seed": seed}
        yield _run("seeds", shape, settings, _loss(shape.params_matmul, tokens, rng))


def _rung(flops, rng):
    for width in (64, 96, 128):
        shape = FAMILY.at_width(width)
        tokens = int(flops / shape.size.flops_per_token)
        loss = _loss(shape.params_matmul, tokens, rng)
        yield _run("held_out", shape, {"tokens": tokens}, loss)


def planted() -> ReportInput:
    """Make the planted study with everything a report can show."""
    rng = np.random.default_rng(5)
    ladder, grid = list(_ladder(rng)), list(_grid(rng))
    first = fit_loss(Observations.from_runs(ladder))
    flops = 2 * max(run.flops for run in ladder)
    rung = list(_rung(flops, rng))
    points = [(dict(r.trial.shape), r.size.params_matmul, r.tokens, r.flops) for r in rung]
    written = predict_held_out(first, points, "0123456789abcdef")
    judged = judge(written, [run.loss for run in rung], first.sigma)
    runs = (*grid, *ladder, *rung)
    fit = fit_loss(Observations.from_runs([*ladder, *rung])).widened(judged.widen)
    rounds = (
        StageSummary("lr_batch", "Where is the best learning rate, per batch?", 18, 1e13),
        StageSummary("ladder", "How does loss depend on size and tokens?", 20, 3e13),
    )
    hyper = fit_hyper(grid)
    doubt = Finding("one-corpus", Severity.WARNING, "All proxies saw one corpus", "add one", 2e13)
    evidence = Evidence(
        fit, hyper, judged, (doubt,), provenance={"ledger_hash": "0123456789abcdef"}
    )
    objective = objective_from_options({"usd": 0.002, "gpu": "h100"})
    return ReportInput(
        title="planted",
        plan=make_plan(evidence, objective, family=FAMILY),
        fit=fit,
        hyper=hyper,
        runs=runs,
        stage_of={run.key: run.trial.stage for run in runs},
        prediction=written,
        judgement=judged,
        rounds=rounds,
        recipe={"proxy": "gpt", "data": {"source": "python-source", "train_hash": "aa11"}},
    )


@pytest.fixture(scope="session")
def study() -> ReportInput:
    return planted()


@pytest.fixture
def bare(study: ReportInput) -> ReportInput:
    """The same plan and fit without the study behind them, as a plain table leaves it."""
    return replace(
        study,
        plan=replace(study.plan, held_out=None),
        hyper=None,
        runs=(),
        stage_of={},
        prediction=None,
        judgement=None,
        rounds=(),
        recipe={},
    )
