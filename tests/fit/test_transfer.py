"""fit_hyper over planted worlds: values, intervals, findings, what it needs and what it refuses."""

import json
from dataclasses import replace

import numpy as np
import pytest

from planner.fit.cells import seed_noise
from planner.fit.hyper_fit import HyperFit
from planner.fit.priors import Normal, Priors
from planner.fit.transfer import fit_hyper
from planner.run import Schedule, Status
from planner.shape import Size
from tests.fit.hyper_world import World


def sized(params: float) -> Size:
    return Size(params, params, 1.2 * params, 6.0 * params)


def world(seed: int = 0, **changes) -> World:
    return World(np.random.default_rng(seed), **changes)


def codes(fit: HyperFit) -> set[str]:
    return {finding.code for finding in fit.findings}


def full(planted: World):
    """The anchor's grid, a second size and a second horizon."""
    runs = planted.anchor()
    for params, tokens in ((8e4, 1_000_000), (2e4, 4_000_000)):
        centre = 2 ** np.round(planted.best_lr(params, tokens, 512) / np.log(2))
        runs += planted.cell(params, tokens, 512, centre * 2.0 ** np.arange(-1, 2))
    return runs


def test_the_anchor_is_found_and_far_predictions_are_wider() -> None:
    planted = world(noise=0.002)
    fit = fit_hyper(full(planted))
    here = fit.lr(sized(2e4), 1e6, 512)
    assert here.contains(np.exp(planted.best_lr(2e4, 1e6, 512)))
    assert here.value == pytest.approx(np.exp(planted.best_lr(2e4, 1e6, 512)), rel=0.25)
    assert fit.batch(sized(2e4), 1e6).contains(512)
    far = fit.lr(sized(2e5), 1e7, 512)
    assert np.log(far.high / far.low) > 1.5 * np.log(here.high / here.low)
    assert far.contains(np.exp(planted.best_lr(2e5, 1e7, 512)))
    assert fit.k_low.contains(planted.k_low)
    assert fit.k_high.contains(planted.k_high)
    assert codes(fit) == {"lr-form"}


def test_draws_agree_with_the_estimate() -> None:
    fit = fit_hyper(full(world()))
    estimate = fit.lr(sized(8e4), 4e6, 1024)
    low, middle, high = np.quantile(
        fit.lr_draws(sized(8e4), 4e6, 1024, draws=20_000), [0.05, 0.5, 0.95]
    )
    assert np.log([low, middle, high]) == pytest.approx(
        np.log([estimate.low, estimate.value, estimate.high]), abs=0.1
    )
    again = fit.batch_draws(sized(8e4), 4e6, seed=3)
    assert np.array_equal(again, fit.batch_draws(sized(8e4), 4e6, seed=3))


def test_the_best_batch_alone_is_that_of_the_estimate() -> None:
    fit = fit_hyper(full(world()))
    for size, tokens in ((2e4, 1e6), (8e4, 4e6), (3e6, 1e9)):
        assert fit.best_batch(sized(size), tokens) == fit.batch(sized(size), tokens).value


def test_json_keeps_every_prediction() -> None:
    fit = fit_hyper(full(world()))
    read = HyperFit.from_json(json.loads(json.dumps(fit.to_json())))
    assert read.lr(sized(1e6), 1e8, 4096) == fit.lr(sized(1e6), 1e8, 4096)
    assert read.batch(sized(1e6), 1e8) == fit.batch(sized(1e6), 1e8)
    assert read.to_json() == fit.to_json()
    assert read.findings == fit.findings


def test_one_place_leaves_the_slopes_to_the_prior_and_says_so() -> None:
    fit = fit_hyper(world().anchor())
    assert {"lr-one-size", "lr-one-horizon"} <= codes(fit)
    assert fit.own_share < fit_hyper(full(world())).own_share
    assert "batch-not-varied" in codes(fit_hyper(world().anchor(batches=(512,))))


def test_horizons_at_one_batch_each_do_not_carry_the_rate_over_tokens() -> None:
    planted = world(noise=0.002)
    rates = 0.016 * 2.0 ** np.arange(-2, 3)
    runs = [
        run
        for tokens, batch in ((1_000_000, 256), (4_000_000, 1024))
        for run in planted.cell(2e4, tokens, batch, rates)
    ]
    assert "lr-tokens-or-batch" in codes(fit_hyper(runs))
    swept = planted.cell(2e4, 1_000_000, 1024, rates)
    assert "lr-tokens-or-batch" not in codes(fit_hyper([*runs, *swept]))


def test_own_runs_share_in_the_batch_too() -> None:
    planted = world()
    alone, varied = fit_hyper(planted.anchor(batches=(512,))), fit_hyper(full(planted))
    assert alone.own_share_batch < 0.05 < varied.own_share_batch < 1
    assert varied.to_json()["own_share_batch"] == varied.own_share_batch
    assert varied.to_json()["lr_forms"]["chosen"] == "saturating"


def test_a_batch_optimum_below_the_grid_is_a_bound() -> None:
    planted = world(noise=0.002)
    fit = fit_hyper(planted.anchor(batches=(1024, 2048, 4096)))
    assert "batch-at-edge" in codes(fit)
    assert not fit.batch_sweeps[0].basin.interior_low
    assert fit.batch(sized(2e4), 1e6).contains(512)


def test_runs_of_a_design_fill_the_gaps_that_no_grid_filled() -> None:
    planted = world(noise=0.002)
    runs = planted.anchor()
    lr = np.exp(planted.best_lr(8e4, 4e6, 512))
    pair = planted.cell(8e4, 4_000_000, 512, [0.5 * lr, 2 * lr])
    told = {code for code in codes(fit_hyper([*runs, *pair], joint=True)) if "-one-" in code}
    assert told == set()
    alone = planted.cell(8e4, 4_000_000, 512, [lr])
    assert {"lr-one-size", "lr-one-horizon"} <= set(codes(fit_hyper([*runs, *alone], joint=True)))


def test_no_batch_is_asked_for_below_what_the_proxy_can_train_at() -> None:
    runs = world(noise=0.002).anchor(batches=(1024, 2048, 4096))

    def advice(recipe: dict[str, object]) -> str:
        found = fit_hyper(runs, recipe=recipe).findings
        found = tuple(f for f in found if f.code == "batch-at-edge")
        return next(f"{f.severity.value} {f.what} {f.remedy}" for f in found)

    for bound in ({"least_batch": 1024}, {"proxy": "gpt", "context": 1024}):
        assert "the smallest of this proxy" in advice(bound)
        assert "try batches" not in advice(bound)
        assert advice(bound).startswith("info")
    for free in (
        {},
        {"least_batch": 512},
        {"context": None},
        {"proxy": "command", "context": 1024},
    ):
        assert "try batches below 1024 tokens" in advice(free)
        assert advice(free).startswith("warning")


def test_a_learning_rate_optimum_outside_the_grid_is_said() -> None:
    planted = world(noise=0.002)
    runs = planted.cell(2e4, 1_000_000, 512, [0.001, 0.002, 0.004])
    fit = fit_hyper(runs)
    assert "lr-at-edge" in codes(fit)
    assert not fit.cells[0].basin.interior_high


def test_data_far_from_the_prior_are_a_conflict() -> None:
    usual = fit_hyper(full(world(noise=0.002)))
    odd = fit_hyper(full(world(noise=0.002, log_lr=np.log(1e-5))))
    assert "prior-data-conflict" not in codes(usual)
    assert "prior-data-conflict" in codes(odd)


def test_no_runs_is_the_prior_at_its_own_anchor() -> None:
    published = fit_hyper([])
    assert codes(published) == {"lr-prior-only"}
    assert published.own_share == 0
    large = published.lr(sized(1e9), 2e10, 4e5)
    assert 3e-4 < large.value < 3e-3
    small = fit_hyper([], prior=Priors.published(2e4, 1e6))
    width = np.log(small.lr(sized(2e4), 1e6, 512).high / small.lr(sized(2e4), 1e6, 512).low)
    assert width == pytest.approx(2 * 1.645 * 1.5, rel=0.2)


def test_the_prior_can_be_replaced() -> None:
    prior = replace(Priors.published(2e4, 1e6), size_slope=Normal(0.0, 0.01))
    fit = fit_hyper(world().anchor(), prior=prior)
    ratio = fit.lr(sized(2e6), 1e6, 512).value / fit.lr(sized(2e4), 1e6, 512).value
    assert ratio == pytest.approx(1.0, abs=0.01)


def test_only_decayed_runs_that_ended_by_themselves_count() -> None:
    planted = world()
    runs = planted.anchor(batches=(512,))
    constant = [
        replace(r, trial=replace(r.trial, schedule=Schedule("constant")), loss=0.1) for r in runs
    ]
    pruned = [replace(r, status=Status.PRUNED, loss=0.2) for r in runs]
    assert fit_hyper([*runs, *constant, *pruned]).cells == fit_hyper(runs).cells


def test_a_diverged_run_is_a_bound_and_never_a_value() -> None:
    planted = world(edge=2.0)
    runs = planted.cell(2e4, 1_000_000, 512, 0.013 * 2.0 ** np.arange(-2, 3))
    assert [r.status for r in runs].count(Status.DIVERGED) >= 1
    cell = fit_hyper(runs).cells[0]
    assert cell.basin.interior_high
    assert cell.tested == (runs[0].trial.lr, runs[-1].trial.lr)


def test_order_of_the_runs_does_not_matter() -> None:
    runs = full(world())
    assert fit_hyper(runs).to_json() == fit_hyper(runs[::-1]).to_json()


def test_seed_noise_pools_replicates_alone() -> None:
    planted = world(noise=0.008)
    runs = planted.anchor()
    assert seed_noise(runs) is None
    seeds = [planted.run(2e4, 1_000_000, 512, 0.016, seed=s) for s in range(30)]
    measured = seed_noise([*runs, *seeds])
    assert measured is not None
    assert measured.df == 29
    assert measured.sd == pytest.approx(0.008, rel=0.35)
    assert fit_hyper([*runs, *seeds]).sigma_seed == pytest.approx(measured.sd, rel=0.05)


def test_regret_is_lopsided() -> None:
    fit = fit_hyper(full(world(noise=0.001)))
    assert fit.regret(np.log(2)) > fit.regret(-np.log(2)) > 0
    assert fit.regret(0.0) == 0
    assert fit.batch_regret(np.log(2)) == fit.batch_regret(-np.log(2))
