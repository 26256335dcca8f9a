"""A results folder that Ray Tune itself has just written, imported."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from planner.table.read import read_runs

SWEEP = """
import sys
import ray
from ray import tune


def train(config):
    for k in range(1, 4):
        if config["lr"] > 0.1 and k == 2:
            raise ValueError("too high")
        tune.report({"tokens": 1000 * k, "loss": 3.0 / k + config["lr"]})


ray.init(num_cpus=2, include_dashboard=False)
run = tune.RunConfig(storage_path=sys.argv[1], name="sweep", verbose=0)
space = {"lr": tune.grid_search([0.01, 0.02, 0.5]), "width": 64, "params": 1e6}
tune.Tuner(train, param_space=space, run_config=run).fit()
ray.shutdown()
"""


@pytest.mark.ray
def test_what_tune_writes_today_is_read(tmp_path):
    (tmp_path / "sweep.py").write_text(SWEEP)
    folder = Path(f"/tmp/tune-{os.getpid()}")  # sockets need a short path
    folder.mkdir()
    try:
        done = subprocess.run(
            [sys.executable, tmp_path / "sweep.py", tmp_path / "results"],
            env=os.environ | {"RAY_TMPDIR": str(folder), "RAY_USAGE_STATS_ENABLED": "0"},
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert done.returncode == 0, done.stderr
    found = read_runs(tmp_path / "results" / "sweep").observations
    assert sorted(found.status) == ["crashed", "done", "done"]
    ended = {
        lr: loss
        for lr, loss, cut in zip(found.lr, found.loss, found.censored, strict=True)
        if not cut
    }
    assert ended == pytest.approx({0.01: 1.01, 0.02: 1.02})
    assert found.tokens[~found.censored].tolist() == [3000, 3000]
    assert found.width.tolist() == [64] * 3
