"""What enters a loss law, and what is independent of what."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from planner.observations import Observations
from planner.run import Run, Status, Trial
from planner.shape import Size

SIZE = Size(1e4, 1e4, 1e4, 6e4)
TRUNK = Trial("ladder", {"width": 16}, 800, 8, 0.01, 8)


def _run(key, trial, status=Status.DONE):
    return Run(trial, key, status, 2.0, 0.01, SIZE, trial.tokens, 1.0)


def test_only_finished_runs_count_and_forks_share_a_group():
    fork = replace(TRUNK, parent="trunk", fork_at=600)
    runs = [
        _run("a", fork),
        _run("b", replace(fork, tokens=900)),
        _run("c", TRUNK),
        _run("d", TRUNK, Status.DIVERGED),
    ]
    seen = Observations.from_runs(runs)
    assert seen.key == ("a", "b", "c")
    assert seen.group == ("trunk", "trunk", "c")
    assert seen.take(np.array([True, False, True])).key == ("a", "c")


def test_columns_left_out_are_unknown_and_rows_keep_theirs():
    names = ("a", "b", "c")
    three = np.arange(1.0, 4.0)
    seen = Observations(
        *(three,) * 7, group=names, key=names, epochs=three, schedule=np.array(["wsd", "", "x"])
    )
    assert np.isnan(seen.seed).all()
    assert seen.status.tolist() == ["", "", ""]
    assert not seen.censored.any()
    last = seen.take(np.array([2]))
    assert (last.epochs[0], last.schedule[0], len(last.censored)) == (3.0, "x", 1)
    assert len(seen.take(np.zeros(3, dtype=bool)).seed) == 0
