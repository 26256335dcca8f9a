import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from planner.curve import Curve
from planner.fit.transfer import fit_hyper
from planner.witness import critical_batch_findings, noise_findings
from tests.fit.hyper_world import World
from tests.fit.test_steps_to_loss import swept


def measured(folder, rng, *, scale, signal=1.0, steps=400):
    """A run at the world's anchor whose curve holds norms of a planted noise scale (tokens)."""
    world = World(np.random.default_rng(1))
    grid = [
        run
        for batch in (128, 512, 2048)
        for run in world.cell(2e4, 1_000_000, batch, 0.018 * 2.0 ** np.arange(-2, 3))
    ]
    run = grid[0]
    run = type(run)(**{f: getattr(run, f) for f in run.__dataclass_fields__} | {
        "metrics": {"batch_small": 128.0, "batch_big": 1024.0}})  # fmt: skip
    trace = scale * max(signal, 1.0)
    columns = {}
    for name, batch in (("grad_sq_small", 128), ("grad_sq_big", 1024)):
        noise = rng.normal(size=(steps, 200)) * np.sqrt(trace / batch / 200)
        mean = np.full(200, np.sqrt(signal / 200))
        columns[name] = ((mean + noise) ** 2).sum(axis=1)
    columns["grad_sq_small"][::3] = np.nan
    folder.mkdir()
    pq.write_table(pa.table(columns), folder / f"{run.key}.parquet")
    return [run, *grid[1:]], fit_hyper(grid)


@pytest.mark.parametrize(
    ("scale", "signal", "code"),
    [
        (600.0, 1.0, "noise-scale"),
        (12000.0, 1.0, "noise-scale-disagrees"),
        (600.0, 0.0, "noise-scale-unidentified"),
    ],
)
def test_the_noise_scale_is_held_against_the_best_batch(tmp_path, scale, signal, code):
    """Without signal one seed in twenty is wrongly identified."""
    rng = np.random.default_rng(2)
    runs, hyper = measured(tmp_path / "curves", rng, scale=scale, signal=signal)
    assert [finding.code for finding in noise_findings(tmp_path / "curves", runs, hyper)] == [code]


def test_too_few_measurements_are_said_to_be_too_few(tmp_path):
    runs, hyper = measured(tmp_path / "curves", np.random.default_rng(0), scale=600.0, steps=9)
    (found,) = noise_findings(tmp_path / "curves", runs, hyper)
    assert "measure at least" in found.what


def test_a_study_that_measured_nothing_says_nothing(tmp_path):
    runs, hyper = measured(tmp_path / "curves", np.random.default_rng(0), scale=600.0)
    assert noise_findings(tmp_path / "curves", runs[1:], hyper) == []


def batch_sweep(batches):
    """A sweep of the world's anchor whose curves hold a planted critical batch of 1,500 tokens."""
    world = World(np.random.default_rng(1))
    lrs = 0.01 * 2.0 ** np.arange(-2, 3)
    runs = [r for batch in batches for r in world.cell(2e4, 1_000_000, batch, lrs)]
    curves = []
    for run in runs:
        made = swept(run.trial.batch_tokens, run.trial.lr).curve
        curves.append(Curve(run.key, made.tokens, made.step, made.lr, made.loss))
    return curves, runs, fit_hyper(runs)


def test_curves_of_a_batch_sweep_tell_the_critical_batch():
    (found,) = critical_batch_findings(*batch_sweep((128, 512, 2048, 8192)))
    assert found.code == "critical-batch"
    assert "the critical batch is 1.5k tokens" in found.what
    assert "lowest decayed loss" in found.what


def test_batches_far_below_the_critical_one_bound_it_only():
    (found,) = critical_batch_findings(*batch_sweep((4, 8, 16)))
    assert found.code == "critical-batch-unidentified"
    assert "lies above" in found.what
    assert "try larger batches" in found.what


def test_two_batches_say_nothing():
    assert critical_batch_findings(*batch_sweep((128, 512))) == []
