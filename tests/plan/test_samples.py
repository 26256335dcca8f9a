"""A data set of a fixed size: the law answers for repeats, the plan speaks of epochs and steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from planner.decide.sizes import BlackBox
from planner.fit.engine import fit_loss
from planner.fit.error_map import fit_error_map
from planner.fit.forms.data_constrained import DATA_CONSTRAINED
from planner.fit.loss_fit import LossFit
from planner.fit.transfer import fit_hyper
from planner.observations import Observations
from planner.plan.make import Evidence, make_plan
from planner.plan.objective import objective_from_options

TRUTH = np.array([0.1, 40.0, 900.0, 0.7, 0.85, 8.0, 5.0])


def observed() -> Observations:
    n, d, u = (
        axis.ravel()
        for axis in np.meshgrid(
            [1e3, 3e3, 9e3, 2.7e4], [8e3, 1.6e4, 3.2e4, 6.4e4], [400, 1600, 1e5]
        )
    )
    loss = DATA_CONSTRAINED.predict(TRUTH, n, d, u)
    loss = loss * np.exp(np.random.default_rng(0).normal(0, 0.005, n.shape))
    keys = tuple(map(str, range(len(n))))
    blank = np.full(n.shape, np.nan)
    return Observations(n, d, 6 * n * d, loss, blank, blank, blank, keys, keys, unique_tokens=u)


@pytest.fixture(scope="module")
def fit() -> LossFit:
    return replace(fit_loss(observed(), law="data-constrained"), unique_tokens=1600.0)


def planned(fit, **options):
    losses = np.linspace(0.2, 3.0, 12)
    evidence = Evidence(fit, fit_hyper([], recipe={"unit": "images"}),
                        accuracy=fit_error_map(losses, 0.3 * losses))  # fmt: skip
    objective = objective_from_options({"flops": 2e10} | options)
    return make_plan(evidence, objective, family=BlackBox())


def test_predictions_are_for_the_data_there_are(fit):
    n, d = np.array([9e3]), np.array([6.4e4])
    few, many = (
        replace(fit, unique_tokens=u).predict(n, d, kind="statistical")[0].value
        for u in (400.0, 1e5)
    )
    truth = [DATA_CONSTRAINED.predict(TRUTH, n, d, np.array([u]))[0] for u in (400.0, 1e5)]
    assert few > 1.1 * many
    assert [few, many] == pytest.approx(truth, rel=0.05)
    assert LossFit.from_json(fit.to_json()).unique_tokens == 1600.0
    assert "unique_tokens" not in replace(fit, unique_tokens=None).to_json()


def test_a_plan_says_epochs_steps_and_accuracy(fit):
    plan = planned(fit)
    tokens, batch = (plan.decision(n).estimate.value for n in ("tokens", "batch_tokens"))
    assert plan.decision("epochs").estimate.value == pytest.approx(tokens / 1600)
    assert plan.decision("steps").estimate.value == tokens / batch
    accuracy, loss = plan.decision("accuracy").estimate, plan.decision("loss").estimate
    assert accuracy.value == pytest.approx(1 - 0.3 * loss.value, abs=0.03)
    assert accuracy.low <= accuracy.value <= accuracy.high
    assert plan.decision("epochs").estimate.value > 4


def test_fewer_images_than_the_study_had_are_planned_for_as_such(fit):
    few, many = planned(fit, unique_tokens=400), planned(fit, unique_tokens=16_000)
    assert few.decision("epochs").estimate.value > 4
    assert few.decision("loss").estimate.value > many.decision("loss").estimate.value
