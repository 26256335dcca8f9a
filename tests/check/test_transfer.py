from dataclasses import replace

import numpy as np
import pytest

from planner.check.transfer import lr_shift, transfer_finding
from planner.finding import Severity
from planner.shape import Size
from tests.fit.hyper_world import World

TOKENS = 1_000_000
SIZES = [Size(n, n, n, 6 * n) for n in (1e4, 2e4, 8e4)]
RATES = 0.018 * 2.0 ** np.arange(-3, 4)


def swept(slope, noise=0.001, batches=(512, 512), rates=RATES):
    world = World(np.random.default_rng(1), size_slope=slope, noise=noise)
    rows = zip((2e4, 8e4), batches, strict=True)
    return [world.run(n, TOKENS, batch, lr) for n, batch in rows for lr in rates]


def judged(runs, name="mup"):
    return transfer_finding(runs, SIZES, TOKENS, name)


def test_the_planted_shift_lies_in_the_interval():
    delta, small, large = lr_shift(swept(-0.5))
    assert (small.params, large.params) == (2e4, 8e4)
    assert delta.low < -0.5 * np.log(4) < delta.high


def test_a_learning_rate_that_stays_transfers():
    finding = judged(swept(0.0))
    assert finding.severity is Severity.INFO
    assert finding.what.endswith("it transfers.")


def test_one_that_moves_blocks_under_a_claim_and_warns_under_sp():
    runs = swept(-0.8)
    assert judged(runs).severity is Severity.BLOCKING
    plain = judged(runs, "sp")
    assert plain.severity is Severity.WARNING
    assert "does not transfer" in plain.what


@pytest.mark.parametrize(
    ("runs", "why"),
    [
        (swept(-0.25, noise=0.02), "straddles the bound"),
        (swept(0.0, rates=RATES[-3:]), "edge of its grid"),
    ],
)
def test_where_the_evidence_is_thin_nothing_is_decided_and_the_price_is_named(runs, why):
    finding = judged(runs)
    assert finding.severity is Severity.WARNING
    assert "not decided" in finding.what
    assert why in finding.what
    assert finding.cost_flops == pytest.approx(3 * 6 * 1e5 * TOKENS)


@pytest.mark.parametrize("runs", [[], swept(0.0, batches=(512, 2048))])
def test_without_two_sizes_alike_in_tokens_and_batch_it_says_what_to_run(runs):
    finding = judged(runs)
    assert finding.severity is Severity.WARNING
    assert "2e+04 and 8e+04 parameters" in finding.remedy
    assert finding.cost_flops == pytest.approx(3 * 6 * 1e5 * TOKENS)


def test_mup_is_judged_at_one_depth_only():
    runs = [
        replace(run, trial=replace(run.trial, shape={**run.trial.shape, "depth": depth}))
        for run in swept(-0.8)
        for depth in [int(run.size.params_matmul // 1e4)]
    ]
    assert "No two sizes" in judged(runs).what
    assert judged(runs, "completep").severity is Severity.BLOCKING
