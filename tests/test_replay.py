"""`planner replay` over a table of somebody else's: JSON, text, and sentences for what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from planner.cli import app
from planner.errors import EvidenceError, TableError, UsageError
from tests.sweep.replay_world import TARGET, table

HERE = f"N == {TARGET[0]:g} and toks == {TARGET[1]:g}"
MAPS = ("N=params", "toks=tokens", "bs*2048=batch_tokens", "val=loss")


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("replay") / "runs.csv"
    t = table()
    rows = ["N,toks,bs,lr,val"]
    for i in range(len(t)):
        loss = f"{t.loss[i]:.6f}" if np.isfinite(t.loss[i]) else ("nan", "9.5")[i % 2]
        rows.append(
            f"{t.params[i]:g},{t.tokens[i]:g},{t.batch_tokens[i] / 2048:g},{t.lr[i]:.9g},{loss}"
        )
    path.write_text("\n".join(rows) + "\n")
    return path


def replay(*words: object, maps: tuple[str, ...] = MAPS) -> str:
    """Run the command in this process; a PlannerError comes through as it is."""
    named = [word for name in maps for word in ("--map", name)]
    done = CliRunner().invoke(app, ["replay", *map(str, words), *named])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def test_json_holds_the_contract_and_the_budget_is_kept(runs):
    said = json.loads(
        replay(runs, "--target", HERE, "--budget", "0.03x", "--max-proxy", "0.02x", "--policy",
               "cost-random", "--seeds", 3, "--json")
    )  # fmt: skip
    assert said["policy"] == "cost-random"
    assert len(said["regrets"]) == 3
    assert max(said["flops_used"]) <= 0.03 * 6 * TARGET[0] * TARGET[1] * (1 + 1e-9)
    assert said["median_regret"] < 0.05
    assert said["target_minimum_loss"] == pytest.approx(2.17, abs=0.3)


def test_diverged_rows_can_be_bought_whatever_their_table_says(runs):
    said = json.loads(
        replay(
            runs, "--target", HERE, "--budget", "2x", "--policy", "random", "--seeds", 1, "--json"
        )
    )
    assert said["proxy_rows"] == 9 * 42


def test_the_same_rows_in_two_tables_count_once(runs):
    words = ("--target", HERE, "--budget", "2x", "--policy", "grid", "--seeds", 1, "--json")
    once, twice = (json.loads(replay(*paths, *words)) for paths in ((runs,), (runs, runs)))
    assert once["proxy_rows"] == 9 * 42
    assert twice["proxy_rows"] == once["proxy_rows"]


def test_text_names_regret_and_coverage(runs):
    said = replay(runs, "--target", HERE, "--budget", "0.03x", "--policy", "grid", "--seeds", 1)
    assert "regret of the recommended lr and batch: median" in said
    assert "lr intervals that hold it" in said


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        (("--target", "N == 7e9", "--budget", "0.1x"), TableError, "no row of .* satisfies"),
        (("--target", "N == 1e8", "--budget", "0.1x"), UsageError, "selects 3 cells"),
        (("--target", HERE, "--budget", "1e-5x"), UsageError, "cheapest proxy costs 0.004x"),
        (
            ("--target", HERE, "--budget", "0.1x", "--max-proxy", "0.001x"),
            UsageError,
            "--max-proxy 0.001x",
        ),
        (("--target", HERE, "--budget", "lots"), UsageError, "a multiple such as 2x"),
        (("--target", HERE, "--budget", "1x", "--policy", "mine"), UsageError, "known: ours"),
        (
            ("--target", HERE, "--budget", "1x", "--without-prior", "x"),
            UsageError,
            "known: steplaw, all",
        ),
        (("--target", HERE, "--budget", "1x", "--seeds", "0"), UsageError, "give 1 or more"),
    ],
)
def test_bad_input_gets_a_sentence(runs, words, error, says):
    with pytest.raises(error, match=says):
        replay(runs, *words)


def test_a_table_without_batches_is_refused(runs):
    maps = tuple(name for name in MAPS if not name.startswith("bs"))
    with pytest.raises(UsageError, match="rows have no `batch_tokens`"):
        replay(runs, "--target", HERE, "--budget", "1x", maps=maps)


def test_a_target_with_too_few_runs_is_refused(runs):
    with pytest.raises(EvidenceError, match="needs more than 10"):
        replay(runs, "--target", HERE, "--budget", "1x", "--where", "lr < 4e-4")
