from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from planner.errors import EvidenceError, UsageError
from planner.fit.engine import fit_loss
from planner.fit.laws import CHINCHILLA, optimal_params
from planner.fit.loss_fit import LossFit
from tests.fit.planted import TRUTH, ladder, many_runs

FAR = (np.array([1e6]), np.array([1e8]))


@pytest.fixture(scope="module")
def fit() -> LossFit:
    return fit_loss(ladder(noise=0.005))


def test_a_noise_free_law_comes_back_whole():
    found = fit_loss(ladder(), law="chinchilla")
    assert found.status == "converged"
    assert list(found.params.values()) == pytest.approx(TRUTH.tolist(), rel=1e-4)


def test_five_outliers_do_not_move_the_optimum():
    clean = many_runs(0.01)
    loss = clean.loss.copy()
    loss[:5] *= 1.3
    plain, spoilt = fit_loss(clean), fit_loss(replace(clean, loss=loss))
    best = [np.median(f.optimal_params_draws(1e23)) for f in (plain, spoilt)]
    assert best[1] == pytest.approx(best[0], rel=0.1)
    assert "outliers" in {finding.code for finding in spoilt.findings}


def test_predictive_intervals_contain_the_statistical_ones(fit):
    statistical = fit.predict(*FAR, kind="statistical")[0]
    predictive = fit.predict(*FAR)[0]
    assert predictive.relative_width > statistical.relative_width


def test_the_discrepancy_grows_with_compute_and_is_nothing_inside_the_data(fit):
    lone = replace(fit, members=(replace(fit.members[0], weight=1.0),))
    inside = (np.array([3e4]), np.array([2e6]))
    assert lone.loss_draws(*inside) == pytest.approx(lone.statistical(*inside), rel=1e-12)
    spreads = [
        np.log(lone.optimal_params_draws(c * fit.range.flops[1])).std() for c in (1, 10, 100)
    ]
    assert spreads[0] < spreads[1] < spreads[2]


def test_neighbouring_sizes_move_together(fit):
    flops = 100 * fit.range.flops[1]
    params = np.array([1e6, 1.2e6])
    draws = fit.loss_draws(params, flops / (6 * params))
    assert np.corrcoef(draws.T)[0, 1] > 0.95


def test_widening_stretches_every_predictive_interval(fit):
    wider = fit.widened(2.0)
    plain, wide = (np.log(f.loss_draws(*FAR)[:, 0]) for f in (fit, wider))
    assert np.ptp(wide) == pytest.approx(2 * np.ptp(plain))
    assert np.median(wide) == pytest.approx(np.median(plain))
    assert (
        np.log(wider.optimal_params_draws(1e15)).std()
        > np.log(fit.optimal_params_draws(1e15)).std()
    )
    assert np.array_equal(wider.statistical(*FAR), fit.statistical(*FAR))


def test_run_noise_is_added_on_top(fit):
    inside = (np.array([3e4]), np.array([2e6]))
    quiet, noisy = (fit.loss_draws(*inside, run_noise=n)[:, 0] for n in (False, True))
    assert (np.log(noisy / quiet)).std() == pytest.approx(fit.sigma, rel=0.1)


def test_the_optimum_follows_the_draws(fit):
    draws = fit.optimal_params_draws(1e14, kind="statistical")
    assert draws == pytest.approx(optimal_params(fit.draws, 1e14))


def test_a_written_fit_predicts_exactly_the_same(fit):
    read = LossFit.from_json(json.loads(json.dumps(fit.widened(1.5).to_json())))
    assert np.array_equal(read.loss_draws(*FAR), fit.widened(1.5).loss_draws(*FAR))
    assert read.predict(*FAR, run_noise=True) == fit.widened(1.5).predict(*FAR, run_noise=True)
    assert read.findings == fit.findings
    assert read.range == fit.range


def test_fit_json_has_what_the_contract_names(fit):
    data = json.loads(json.dumps(fit.to_json()))
    assert set(data["params"]) == {"E", "A", "B", "alpha", "beta"}
    assert set(data["intervals"]) == set(data["params"])
    assert {m["law"] for m in data["members"]} == {"chinchilla", "chinchilla-tied"}
    assert sum(m["weight"] for m in data["members"]) == pytest.approx(1.0)
    with pytest.raises(UsageError, match="schema version"):
        LossFit.from_json(data | {"schema_version": 99})


def test_a_small_noisy_ladder_says_it_is_not_identified():
    found = fit_loss(ladder(noise=0.05, sizes=3, horizons=(2e6, 4e6)))
    assert not found.status.startswith("converged")
    assert "not-identified" in {finding.code for finding in found.findings}
    assert np.isfinite(found.loss_draws(*FAR)).all()


def test_an_identified_ladder_is_not_tied_by_force(fit):
    assert fit.law == "chinchilla"
    assert fit_loss(ladder(noise=0.005), law="chinchilla-tied").params["alpha"] == pytest.approx(
        fit_loss(ladder(noise=0.005), law="chinchilla-tied").params["beta"]
    )


def test_least_squares_and_a_given_delta_are_named():
    assert fit_loss(ladder(noise=0.005), loss="ls").method.startswith("least squares")
    assert "delta 0.001" in fit_loss(ladder(noise=0.005), delta=1e-3).method


@pytest.mark.parametrize("options", [{"law": "kaplan2"}, {"loss": "l1"}])
def test_unknown_names_are_refused(options):
    with pytest.raises(UsageError, match="known:"):
        fit_loss(ladder(noise=0.005), **options)


def test_too_little_evidence_ends_with_reasons():
    with pytest.raises(EvidenceError, match="one size"):
        fit_loss(ladder(sizes=1, horizons=(1e6, 2e6, 3e6, 4e6, 5e6)))


def test_every_interval_of_the_truth_at_moderate_distance(fit):
    truth = CHINCHILLA.predict(TRUTH, *FAR)[0]
    assert fit.predict(*FAR)[0].contains(float(truth))


def test_the_parameters_are_the_heaviest_members_and_stand_first():
    fit = fit_loss(many_runs(0.005, n=80))
    assert len(fit.members) > 1
    assert fit.members[0].weight == max(member.weight for member in fit.members)
    assert (fit.members[0].law, fit.members[0].params) == (fit.law, fit.params)
