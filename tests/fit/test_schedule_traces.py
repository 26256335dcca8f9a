"""Which curves belong together: peaks, sizes, and forks with the path of their trunk."""

from __future__ import annotations

import numpy as np

from planner.curve import Curve
from planner.fit.schedule import (
    best_schedule,
    fit_group,
    largest_group,
    trace_of,
    traces_of_runs,
    traces_of_table,
)
from planner.fit.schedule.laws import TISSUE, evaluate
from planner.fit.schedule.path import Path, Seen
from planner.proxies._schedule import learning_rates
from planner.run import Run, Schedule, Status, Trial
from planner.shape import Size
from tests.fit.schedule_world import STEPS, curve

BATCH, LR = 1_000, 0.01
SHAPE = np.log([0.02])


def trial(tokens, name="constant", *, fork_at=0, lr=LR):
    return Trial(
        stage="ladder",
        shape={"width": 64, "depth": 2},
        tokens=tokens,
        batch_tokens=BATCH,
        lr=lr,
        warmup_tokens=40_000,
        schedule=Schedule(name, 0.2 if name == "wsd" else 0.0, 0.0),
        parent="trunk" if fork_at else None,
        fork_at=fork_at,
    )


def run_of(key, what):
    size = Size(1e5, 1e5, 1e5, 6e5)
    return Run(what, key, Status.DONE, 2.0, 0.0, size, what.tokens, 1.0)


def curve_of(key, what):
    """Return what the gpt proxy would have written: its own part, every fiftieth of the run."""
    every = learning_rates(what)
    step = np.linspace(what.fork_at / BATCH, what.steps, 51)[1:].astype(int)
    at = np.append(0.0, np.arange(1, what.steps + 1) * BATCH)
    path = Path.recorded(at[1:], every).scaled(4e6, LR)
    theta = np.array([2.0, np.log(0.5), 0.5, 1.0, np.log(0.2), *SHAPE])
    tokens = step * float(BATCH)
    seen = Seen.of(path, np.maximum(tokens / 4e6, path.at[0]))
    loss = np.exp(evaluate(TISSUE, theta, seen)[0])
    loss = loss * np.exp(3e-4 * np.random.default_rng(len(key)).standard_normal(len(loss)))
    return Curve(key, tokens, np.full(len(step), np.nan), every[step - 1], loss)


def study():
    trials = {
        "trunk": trial(3_200_000),
        "one": trial(1_000_000, "wsd", fork_at=800_000),
        "second": trial(2_000_000, "wsd", fork_at=1_600_000),
        "longest": trial(4_000_000, "wsd", fork_at=3_200_000),
        "other": trial(1_000_000, "wsd", lr=2 * LR),
    }
    runs = [run_of(key, what) for key, what in trials.items()]
    return runs, [curve_of(key, what) for key, what in trials.items()]


def test_forks_carry_the_path_of_their_trunk():
    groups = traces_of_runs(*study())
    assert len(groups) == 2
    traces = largest_group(groups)
    assert [trace.run for trace in traces] == ["longest", "one", "second", "trunk"]
    fork = traces[0]
    assert fork.at[0] > 3_200_000
    assert fork.path.at[0] < 200_000
    assert fork.decays
    assert not traces[3].decays
    assert fork.differs(traces[2])
    assert not traces[3].differs(fork)


def test_a_ladder_of_forks_says_how_to_cool_down():
    fit, found = fit_group(traces_of_runs(*study()))
    assert found == ()
    assert fit.unit == "tokens"
    assert fit.schedules >= 3
    assert any(member.held_out is not None for member in fit.members)
    answer = best_schedule(fit, 4e6)
    assert answer.gain.low <= answer.gain.value <= answer.gain.high
    assert answer.recommended.final_ratio <= 0.05


def test_a_fork_without_its_trunk_is_left_out():
    runs, curves = study()
    alone = traces_of_runs(runs, [c for c in curves if c.run != "trunk"])
    assert [trace.run for group in alone.values() for trace in group] == ["other"]


def test_a_table_is_split_by_its_peaks():
    low = curve(TISSUE, SHAPE, "cosine")
    high = Curve("high", low.tokens, low.step, 2 * low.lr, low.loss)
    groups = traces_of_table([low, high, curve(TISSUE, SHAPE, "drop")], None)
    assert sorted(len(group) for group in groups.values()) == [1, 2]


def test_long_curves_are_averaged_and_short_ones_left_out():
    whole = curve(TISSUE, SHAPE, "constant")
    at = np.linspace(whole.step[0], STEPS, 5_000)
    loss = np.interp(at, whole.step, whole.loss)
    nothing = np.full(len(at), np.nan)
    long = trace_of(Curve("long", nothing, at, np.full(len(at), 3e-4), loss))
    assert len(long.at) == 200
    assert np.abs(long.loss - np.interp(long.at, whole.step, whole.loss)).max() < 0.02
    few = Curve("few", whole.tokens[:5], whole.step[:5], whole.lr[:5], whole.loss[:5])
    assert trace_of(few) is None
    silent = Curve("silent", whole.tokens, whole.step, whole.tokens, whole.loss)
    assert trace_of(silent) is None
