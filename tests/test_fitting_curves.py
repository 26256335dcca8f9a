"""`planner fit --curves` on tables: critical batches, and what another schedule would give."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from planner.fitting import FitOptions, fit_command
from planner.offline import plan_command
from tests.fit.test_steps_to_loss import B_CRIT, grid
from tests.fit.test_steps_to_loss import swept as swept_run

SIZES = (3e4, 1.2e5)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A ladder, and two sizes swept over batch and learning rate, as a table with its curves."""
    folder = tmp_path_factory.mktemp("swept")
    rows, points = [], []
    for params in (1e4, 4e4, 1.6e5):
        for tokens in (1e6, 2e6, 4e6, 8e6):
            loss = 1.2 + 30 * params**-0.4 + 40 * tokens**-0.3
            rows.append((f"{params:g} {tokens:g}", params, tokens, loss, 128, 0.01))
    for params in SIZES:
        trunk = swept_run(128, noise=0.005, cooldown=False)
        for kind, run in [("", run) for run in grid(noise=0.005)] + [("trunk", trunk)]:
            key = f"{params:g} {run.curve.run}{kind}"
            loss = float(run.curve.loss[-1]) * (params / 3e4) ** -0.05
            rows.append((key, params, run.tokens, loss, run.batch_tokens, run.curve.lr.max()))
            part = {"run": key, "tokens": run.curve.tokens, "lr": run.curve.lr}
            points.append(pd.DataFrame(part | {"loss": run.curve.loss * loss / run.curve.loss[-1]}))
    names = ["key", "params", "tokens", "loss", "batch_tokens", "lr"]
    pd.DataFrame(rows, columns=names).to_csv(folder / "runs.csv", index=False)
    pd.concat(points).to_parquet(folder / "curves.parquet")
    return folder


@pytest.fixture(scope="module")
def fitted(swept, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitted")
    fit_command(swept / "runs.csv", FitOptions(), folder, swept / "curves.parquet", as_json=True)
    return folder


def test_a_table_swept_in_batch_tells_its_critical_batches(fitted):
    saved = json.loads((fitted / "fit.json").read_text())["critical_batch"]
    assert [one["params"] for one in saved["sizes"]] == list(SIZES)
    for one in saved["sizes"]:
        assert one["bounded"] == [True, True]
        found = one["critical_batch_tokens"]
        assert found["low"] < B_CRIT < found["high"]
    assert np.exp(saved["law"]["mean"][0]) == pytest.approx(B_CRIT, rel=0.1)


def test_without_a_batch_sweep_nothing_is_said_of_batches(swept, tmp_path, capsys):
    one_batch = FitOptions(where="batch_tokens == 128")
    curves = swept / "curves.parquet"
    fit_command(swept / "runs.csv", one_batch, tmp_path, curves, as_json=False)
    assert "critical batch" not in capsys.readouterr().out
    assert "critical_batch" not in json.loads((tmp_path / "fit.json").read_text())


def test_a_plan_from_a_fit_with_curves_decides_the_schedule(fitted, capsys):
    plan_command(fitted / "fit.json", {"flops": "1e14"}, FitOptions(), None, as_json=True)
    plan = json.loads(capsys.readouterr().out)
    (schedule,) = (one for one in plan["decisions"] if one["name"] == "schedule")
    assert "aws fitted to 2 curves of 2 schedules" in schedule["reason"]


def test_a_fitted_run_that_never_cooled_down_is_said_to_lie_high(fitted):
    findings = json.loads((fitted / "fit.json").read_text())["findings"]
    (told,) = (one["what"] for one in findings if one["code"] == "schedule-correction")
    assert "trunk" in told
    off = float(told.split(" by ")[2].split(" nats")[0])
    assert off == pytest.approx(0.3, abs=0.1)
