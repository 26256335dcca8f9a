"""The public names: one explicit list, loaded on first use."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import planner

PUBLIC = {
    "Estimate",
    "Finding",
    "LossFit",
    "Observations",
    "fit_curve",
    "fit_error_map",
    "fit_loss",
    "import_runs",
    "isoflop",
    "read_runs",
}


def test_the_public_surface_is_this_list():
    assert set(planner.__all__) == PUBLIC
    assert all(getattr(planner, name).__doc__ for name in PUBLIC)


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="fit_los"):
        planner.fit_los  # noqa: B018


def test_importing_planner_loads_nothing_heavy():
    script = (
        "import sys, planner; print([m for m in ('numpy', 'pandas', 'torch') if m in sys.modules])"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "[]"


def test_the_opening_example_works(tmp_path):
    sizes, horizons = np.geomspace(1e6, 1e8, 5), (2e8, 1e9, 5e9)
    rows = ["params,tokens,loss"]
    rows += [
        f"{n:.17g},{d},{1.7 + 400 * n**-0.34 + 1000 * d**-0.3:.17g}"
        for n in sizes
        for d in horizons
    ]
    (tmp_path / "runs.csv").write_text("\n".join(rows))
    runs = planner.read_runs(tmp_path / "runs.csv").observations
    found = planner.fit_loss(runs).predict(np.array([1e9]), np.array([2e10]))[0]
    assert found.contains(1.7 + 400 * 1e9**-0.34 + 1000 * 2e10**-0.3)
