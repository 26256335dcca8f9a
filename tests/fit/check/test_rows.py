"""What a row is: a copy, a seed again, a checkpoint, a run that never ended."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from planner.fit.check import check_points
from tests.fit.check.codes import codes, one
from tests.fit.clean_worlds import clean_world
from tests.fit.planted import ladder

DATA = clean_world(0).data


def test_copied_rows():
    data = ladder(noise=0.005)
    finding = one(check_points(data.take(np.r_[np.arange(len(data)), 0, 1])), "duplicate-rows")
    assert finding.what.startswith("2 rows")


def test_a_replicate_with_the_same_seed_is_no_replicate():
    twice = DATA.take(np.r_[np.arange(len(DATA)), 3])
    nearly = np.r_[np.ones(len(DATA)), 1.00001]
    same = replace(twice, loss=twice.loss * nearly)
    finding = one(check_points(same), "duplicate-seeds")
    assert finding.cost_flops == DATA.flops[3]
    other = replace(same, seed=np.r_[np.zeros(len(DATA)), 1.0])
    assert "duplicate-seeds" not in codes(check_points(other))


def test_checkpoints_named_by_their_keys():
    data = ladder(noise=0.005, horizons=(1e6, 2e6, 4e6, 8e6))
    steps = tuple(
        f"gpt-{n:.0f}/step-{d:.0f}" for n, d in zip(data.params, data.tokens, strict=True)
    )
    assert "clustered-rows" in codes(check_points(replace(data, key=steps, group=steps)))
    assert "clustered-rows" not in codes(check_points(replace(data, key=steps)))
    sizes = tuple(f"n{n:.0f}-d{d:.0f}" for n, d in zip(data.params, data.tokens, strict=True))
    assert "clustered-rows" not in codes(check_points(replace(data, key=sizes, group=sizes)))


def test_runs_that_did_not_end_well():
    status = np.where(np.arange(len(DATA)) == 2, "Crashed", "finished")
    finding = one(check_points(replace(DATA, status=status)), "unfinished-runs")
    assert "crashed" in finding.what
    censored = replace(DATA, status=status, censored=status == "Crashed")
    assert "unfinished-runs" not in codes(check_points(censored))


def test_a_sweep_that_was_kept_whole():
    twice = DATA.take(np.r_[np.arange(len(DATA)), 0, 1])
    worse = np.r_[np.ones(len(DATA)), 1.03, 1.02]
    sweep = replace(twice, loss=twice.loss * worse, lr=twice.lr * np.where(worse > 1, 4.0, 1.0))
    assert one(check_points(sweep), "sweep-rows").what.startswith("2 rows")
