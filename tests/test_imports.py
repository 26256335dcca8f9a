"""Heavy libraries stay in their one room, and the lint sees it when they do not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = {"torch", "ray", "optuna", "pandas", "matplotlib", "pyarrow", "scipy", "scipy.stats"}


def _imported(statement: str) -> set[str]:
    """Return the heavy libraries a fresh interpreter has loaded after a statement."""
    code = f"{statement}\nimport sys; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return HEAVY & set(done.stdout.split())


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("import planner.cli", set()),
        ("import planner.space, planner.proxy, planner.run, planner.shape", set()),
        ("import planner.fit, planner.fit.loss_fit, planner.fit.transfer", {"scipy"}),
        ("import planner.plan.make, planner.decide.hyper", {"scipy"}),
        ("import planner.sweep.policy, planner.sweep.loop", {"scipy"}),
        ("import planner.campaign, planner.fit.error_map", {"scipy"}),
        ("import planner.replay, planner.sweep.search", {"scipy"}),
        ("import planner.proxies.synthetic, planner.proxies.command", set()),
    ],
)
def test_an_import_pulls_in_no_more_than_it_may(statement, allowed):
    assert _imported(statement) <= allowed


def test_help_prints_every_command_without_heavy_imports():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "planner", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    verbs = "init sweep status next explain fit predict plan report replay"
    for verb in verbs.split():
        assert verb in done.stdout
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not loaded & (HEAVY | {"numpy", "pydantic"})


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("proxies/synthetic.py", "import planner.plan.make"),
        ("proxies/gpt.py", "import planner.sweep.loop"),
        ("planner/decide/hyper.py", "import torch"),
        ("planner/sweep/policy.py", "import optuna"),
        ("planner/fit/laws.py", "import planner.decide.hyper"),
    ],
)
def test_the_lint_catches_a_planted_import(tmp_path, file, line):
    for folder in ("planner", "proxies", "search_spaces"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, symlinks=True, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    planted = tmp_path / file
    planted.write_text(f"{planted.read_text()}\n{line}  # noqa\n")
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "BROKEN" in done.stdout
