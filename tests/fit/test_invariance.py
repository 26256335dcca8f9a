"""The same data in other clothes: other units, another order, a part of them, another door."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from planner.fit.engine import fit_loss
from planner.fit.loss_fit import LossFit
from planner.fitting import FitOptions, fit_command, predict_command
from planner.observations import Observations
from planner.table import read_runs
from tests.fit.isoflop_world import BESIROGLU, isoflop_runs
from tests.fit.planted import ladder, many_runs

N, D = 1.37, 0.61
NATS_PER_BIT = float(np.log(2.0))
TARGETS = (10.0, 100.0, 1000.0)
SETS = {
    "ladder": lambda: ladder(noise=0.005),
    "isoflop": lambda: isoflop_runs(BESIROGLU, noise=0.003),
    "many": lambda: many_runs(0.01, n=60),
}


def rescaled(runs: Observations, n: float = 1.0, d: float = 1.0, y: float = 1.0) -> Observations:
    return replace(
        runs,
        params=n * runs.params,
        tokens=d * runs.tokens,
        flops=n * d * runs.flops,
        loss=y * runs.loss,
    )


def told(fit: LossFit, runs: Observations, n: float = 1.0, d: float = 1.0, y: float = 1.0):
    """Say everything a plan reads from a fit, in the units of the first table."""
    top = float(runs.flops.max())
    numbers = []
    for factor in TARGETS:
        flops = n * d * factor * top
        for kind in ("statistical", "predictive"):
            best = fit.optimal_params_draws(flops, kind=kind) / n
            numbers += np.log(np.quantile(best, [0.05, 0.5, 0.95])).tolist()
        size = np.sqrt(factor * top / 120.0)
        for kind in ("statistical", "predictive"):
            e = fit.predict(np.array([n * size]), np.array([d * 20.0 * size]), kind=kind)[0]
            numbers += (np.array([e.value, e.low, e.high]) / y).tolist()
    return np.array(numbers)


@pytest.fixture(scope="module", params=list(SETS))
def case(request):
    runs = SETS[request.param]()
    fit = fit_loss(runs)
    return runs, fit, told(fit, runs)


@pytest.mark.parametrize(
    ("n", "d", "y"),
    [(N, 1.0, 1.0), (1.0, D, 1.0), (1e-6, 1e-6, 1.0 / NATS_PER_BIT)],
    ids=["N", "D", "millions and bits"],
)
def test_other_units_give_the_same_answers(case, n, d, y):
    runs, fit, plain = case
    other = fit_loss(rescaled(runs, n, d, y))
    assert (other.law, other.status) == (fit.law, fit.status)
    assert told(other, runs, n, d, y) == pytest.approx(plain, rel=1e-6)


def test_the_order_of_the_rows_does_not_matter(case):
    runs, fit, plain = case
    shuffled = runs.take(np.random.default_rng(3).permutation(len(runs)))
    other = fit_loss(shuffled)
    assert (other.law, other.status) == (fit.law, fit.status)
    assert told(other, runs) == pytest.approx(plain, rel=1e-6)


def test_seven_in_ten_rows_give_an_answer_inside_the_interval(case):
    runs, fit, _ = case
    top, inside = float(runs.flops.max()), []
    for seed in range(3):
        rows = np.random.default_rng(seed).permutation(len(runs))[: round(0.7 * len(runs))]
        part = fit_loss(runs.take(np.sort(rows)))
        for factor in TARGETS[:2]:
            low, high = np.quantile(fit.optimal_params_draws(factor * top), [0.05, 0.95])
            inside.append(low <= np.median(part.optimal_params_draws(factor * top)) <= high)
    assert np.mean(inside) >= 0.8


def test_a_fit_predicts_from_its_file_to_twelve_digits(case):
    _, fit, _ = case
    read = LossFit.from_json(json.loads(json.dumps(fit.to_json())))
    sizes = np.array([1e6, 1e9])
    first, second = (f.loss_draws(sizes, 30 * sizes) for f in (fit, read))
    assert second == pytest.approx(first, rel=1e-12)
    assert read.optimal_params_draws(1e22) == pytest.approx(
        fit.optimal_params_draws(1e22), rel=1e-12
    )
    assert read.params == pytest.approx(fit.params, rel=1e-12)


def test_the_command_line_and_the_python_call_give_the_same_numbers(tmp_path: Path, capsys):
    runs = ladder(noise=0.005)
    table = tmp_path / "runs.csv"
    with table.open("w", newline="") as lines:
        rows = csv.writer(lines)
        rows.writerow(["params_matmul", "tokens", "flops", "loss", "group"])
        columns = (runs.params, runs.tokens, runs.flops, runs.loss)
        rows.writerows(zip(*(c.tolist() for c in columns), runs.group, strict=True))
    fit_command(table, FitOptions(), tmp_path / "out", as_json=True)
    printed = json.loads(capsys.readouterr().out)
    written = json.loads((tmp_path / "out" / "fit.json").read_text())
    assert printed == written

    fit = fit_loss(read_runs(table).observations)
    assert written["params"] == fit.params
    predict_command(tmp_path / "out", "1e6", "5e7", None, as_json=True)
    shown = json.loads(capsys.readouterr().out)["points"][0]
    e = fit.predict(np.array([1e6]), np.array([5e7]))[0]
    assert [shown["loss"], shown["low"], shown["high"]] == [e.value, e.low, e.high]
