"""From tables and folders to fits, predictions and plans, in one process."""

from __future__ import annotations

import json

import numpy as np
import pytest

from planner.errors import UsageError
from planner.fitting import (
    FitOptions,
    fit_command,
    fit_text,
    predict_command,
)
from planner.offline import plan_command
from tests.fit.planted import ladder, many_runs

ORDER = ("blocking", "warning", "info")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path, runs = tmp_path_factory.mktemp("offline") / "runs.csv", many_runs(0.003, n=60)
    rows = np.column_stack([runs.params, runs.tokens, runs.loss])
    np.savetxt(path, rows, delimiter=",", header="params,tokens,loss", comments="", fmt="%.17g")
    return path


@pytest.fixture(scope="module")
def fitted(table, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitted")
    fit_command(table, FitOptions(), folder, as_json=True)
    return folder


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (FitOptions(level=1.5), "between 0 and 1"),
        (FitOptions(delta="wide"), "neither auto nor a number"),
    ],
)
def test_options_that_mean_nothing_get_a_sentence(options, says):
    with pytest.raises(UsageError, match=says):
        options.fit(ladder())


def test_a_fit_says_its_law_its_intervals_and_the_worst_doubt_first(table):
    text = fit_text(FitOptions().fit(ladder(noise=0.003, sizes=3, horizons=(1e6, 2e6))))
    law, *lines = text.splitlines()
    assert law.startswith("chinchilla on 6 runs of 3 sizes")
    for name in ("E", "A", "B", "alpha", "beta"):
        assert any(line.split()[0] == name and "statistical" in line for line in lines)
    grades = [word for line in lines if (word := line.split(":")[0].strip()) in ORDER]
    assert grades == sorted(grades, key=ORDER.index)
    assert len(grades) > 1


def test_a_study_is_fitted_as_it_concluded_unless_options_ask_otherwise(finished, tmp_path):
    concluded = json.loads((finished / "fit.json").read_text())
    fit_command(finished, FitOptions(), tmp_path / "same", as_json=False)
    fit_command(finished, FitOptions(level=0.5), tmp_path / "half", as_json=False)
    same, half = (json.loads((tmp_path / f / "fit.json").read_text()) for f in ("same", "half"))
    assert same["params"] == concluded["params"]
    (low, high), (inner_low, inner_high) = (fit["intervals"]["alpha"] for fit in (same, half))
    assert low < inner_low < inner_high < high


def test_a_prediction_holds_the_truth_and_reads_counts_as_people_write_them(fitted, capsys):
    predict_command(fitted, "1B", "20B", None, as_json=True)
    (point,) = json.loads(capsys.readouterr().out)["points"]
    assert (point["params"], point["tokens"]) == (1e9, 2e10)
    assert point["low"] < 1.8172 + 482 * 1e9**-0.348 + 2085 * 2e10**-0.366 < point["high"]


def test_points_that_cannot_be_read_get_a_sentence(fitted, tmp_path):
    with pytest.raises(UsageError, match="needs --params and --tokens"):
        predict_command(fitted, "1B", None, None, as_json=False)
    with pytest.raises(UsageError, match="does not exist"):
        predict_command(fitted, None, None, tmp_path / "none.csv", as_json=False)
    (tmp_path / "points.csv").write_text("params,flops\n1e9,1e20\n")
    with pytest.raises(UsageError, match="columns params,tokens"):
        predict_command(fitted, None, None, tmp_path / "points.csv", as_json=False)


def test_a_file_that_is_no_fit_gets_a_sentence(tmp_path):
    (tmp_path / "fit.json").write_text("E = 1.8")
    with pytest.raises(UsageError, match="is not JSON"):
        predict_command(tmp_path, "1B", "20B", None, as_json=False)


def test_without_a_target_the_plan_is_for_100_times_the_largest_run(fitted, tmp_path, capsys):
    reach = json.loads((fitted / "fit.json").read_text())["range"]["flops"][1]
    plan_command(fitted, {}, FitOptions(), tmp_path, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["flops"] == pytest.approx(100 * reach, rel=0.05)
    assert json.loads((tmp_path / "plan.json").read_text()) == told


def test_a_plan_from_a_table_is_the_plan_from_its_fit(table, fitted, tmp_path):
    for name, source in (("direct", table), ("saved", fitted)):
        plan_command(source, {"flops": "1e23"}, FitOptions(), tmp_path / name, as_json=True)
    direct, saved = (
        json.loads((tmp_path / name / "plan.json").read_text()) for name in ("direct", "saved")
    )
    assert direct["headline"] == saved["headline"]
    assert direct["decisions"] == saved["decisions"]


def test_a_study_is_planned_for_another_target_without_touching_its_plan(finished, tmp_path):
    before = (finished / "plan.json").read_text()
    plan_command(finished, {"flops": "1e16"}, FitOptions(), tmp_path, as_json=True)
    assert (tmp_path / "plan.json").read_text() != before
    assert (finished / "plan.json").read_text() == before
