"""A whole small sweep of a gpt trained by Muon: from the YAML to the plan and its report."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest

SPACE = """
study: muon
proxy: {name: gpt, options: {context: 16, head_dim: 8, optimizer: muon, compile: "off"}}
sizes: [{width: 8, depth: 1}, {width: 16, depth: 1}, {width: 24, depth: 1}]
lr: {log: [2.0e-2, 8.0e-2], factor: 2}
batch_tokens: {log: [64, 256], factor: 4}
horizons: {tokens_per_run: [2048, 4096, 8192], forks: false}
stages: {finder: off, seeds: 2, confirm: off, warmup: off, held_out: {compute: 2x, sizes: 1}}
budget: {flops: 4e9}
executor: {name: inline}
"""


@pytest.fixture(scope="module")
def study(data, tmp_path_factory):
    """Return the folder of a finished study on toy tokens."""
    folder = tmp_path_factory.mktemp("muon")
    (folder / "space.yaml").write_text(SPACE + f"data: {json.dumps({**data, 'epochs': 2})}\n")
    command = [sys.executable, "-m", "planner", "sweep", "space.yaml", "--out", "study"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "study"


def test_every_run_of_the_sweep_was_muons_and_learned(study):
    recipe = json.loads((study / "env.json").read_text())["recipe"]
    assert "muon" in recipe["optimizer"]
    runs = [json.loads(line) for line in (study / "runs.jsonl").read_text().splitlines()]
    losses = [run["loss"] for run in runs if run["status"] == "done"]
    assert len(losses) >= 10
    assert max(losses) < math.log(14) - 0.5  # of 14 words, seven of which can be told


def test_the_report_tells_what_muon_needs(study):
    report = (study / "report.md").read_text()
    assert "0.95 (Nesterov, Muon's)" in report
    assert "It is Muon's and AdamW's alike" in report
    assert "no published law of AdamW holds for muon" in report
    plan = json.loads((study / "plan.json").read_text())
    assert "muon" in plan["provenance"]["recipe"]["optimizer"]
