"""Planted curves: each fault is named with its runs and its price, sound runs raise nothing."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from planner.curve import Curve
from planner.finding import Severity
from planner.fit.check_curves import check_curves
from planner.observations import Observations
from tests.fit.planted import ladder

POINTS = 100
TABLE = replace(ladder(), batch_tokens=np.full(15, 1000.0))


def schedule(kind: str, x: np.ndarray) -> np.ndarray:
    """Learning rate over the share ``x`` of the run, after a short warmup."""
    shapes = {
        "wsd": 1.0 - np.sqrt(np.clip((x - 0.8) / 0.2, 0.0, 1.0)),
        "cosine": 0.1 + 0.9 * (1.0 + np.cos(np.pi * x)) / 2.0,
        "constant": np.ones_like(x),
    }
    return 0.01 * np.minimum(1.0, x / 0.02) * shapes[kind]


def curve(row: int, kind: str = "wsd", *, noise: float = 0.02, until: float = 1.0) -> Curve:
    """Fall by 3 nats to the table's loss, noise of a batch on every point."""
    rng = np.random.default_rng(row)
    x = np.linspace(0.01, until, round(POINTS * until))
    end = TABLE.loss[row]
    loss = end + 3.0 * np.exp(-5.0 * x) * (1.0 - x) + noise * rng.standard_normal(len(x))
    tokens = x * TABLE.tokens[row]
    return Curve(TABLE.key[row], tokens, np.full(len(x), np.nan), schedule(kind, x), loss)


def curves(*faulty: Curve, **options) -> list[Curve]:
    """All runs sound, but for those given."""
    given = {one.run: one for one in faulty}
    return [given.get(key, curve(row, **options)) for row, key in enumerate(TABLE.key)]


def found(*faulty: Curve, table: Observations = TABLE, **options) -> dict:
    return {f.code: f for f in check_curves(table, curves(*faulty, **options))}


def with_loss(one: Curve, change) -> Curve:
    loss = one.loss.copy()
    change(loss)
    return replace(one, loss=loss)


@pytest.mark.parametrize("kind", ["wsd", "cosine"])
@pytest.mark.parametrize("noise", [0.0, 0.01, 0.1])
def test_sound_runs_raise_nothing(kind, noise):
    assert found(kind=kind, noise=noise) == {}


def test_a_fork_s_curve_of_its_cooldown_alone_is_sound():
    late = [
        replace(c, **{name: getattr(c, name)[80:] for name in ("tokens", "step", "lr", "loss")})
        for c in curves()
    ]
    assert check_curves(TABLE, late) == ()


def test_undecayed_losses_are_doubted_at_the_price_of_a_cooldown():
    finding = found(kind="constant")["curves-undecayed"]
    assert finding.severity is Severity.WARNING
    assert "All 15 runs" in finding.what
    assert "100 % of the highest learning rate" in finding.what
    assert finding.cost_flops == pytest.approx(0.2 * TABLE.flops.sum())


def test_decayed_and_undecayed_losses_in_one_fit_are_refused():
    finding = found(curve(3, "constant"), curve(7, "constant"))["curves-mixed-schedules"]
    assert finding.severity is Severity.BLOCKING
    assert "2 of 15 runs (r3, r7)" in finding.what
    assert finding.cost_flops == pytest.approx(0.2 * TABLE.flops[[3, 7]].sum())


def test_a_checkpoint_is_judged_where_it_was_taken():
    longer = replace(TABLE, tokens=TABLE.tokens * np.where(np.arange(15) == 4, 0.5, 1.0))
    finding = found(table=longer)["curves-mixed-schedules"]
    assert "(r4)" in finding.what


def test_runs_that_ended_early_cost_their_rest():
    finding = found(curve(5, until=0.6))["curves-ended-early"]
    assert "r5" in finding.what
    assert "0.6" in finding.what
    assert finding.cost_flops == pytest.approx(0.4 * TABLE.flops[5], rel=0.05)


def test_steps_become_tokens_where_the_batch_is_known():
    short = curve(5, until=0.6)
    steps = replace(short, step=short.tokens / 1000.0, tokens=short.step)
    assert "curves-ended-early" in found(steps)
    unknown = replace(TABLE, batch_tokens=np.full(15, np.nan))
    assert "curves-ended-early" not in found(steps, table=unknown)


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1])
def test_a_spike_at_the_end_is_seen_through_the_noise(noise):
    def spike(loss):
        loss[-4:] += 1.0

    finding = found(with_loss(curve(2, noise=noise), spike), noise=noise)["curves-spiked"]
    assert "1 of 15 runs with a curve (r2)" in finding.what
    assert finding.cost_flops == pytest.approx(TABLE.flops[2])


def test_a_slow_divergence_and_an_infinite_loss_are_seen():
    def climb(loss):
        loss[60:] += np.linspace(0.0, 0.8, 40)

    def burst(loss):
        loss[-5:] = np.inf

    assert "(r1)" in found(with_loss(curve(1), climb))["curves-spiked"].what
    assert "without bound" in found(with_loss(curve(1), burst))["curves-spiked"].what


def test_a_spike_that_healed_raises_nothing():
    def spike(loss):
        loss[50:54] += 2.0

    assert found(with_loss(curve(2), spike)) == {}


def test_bits_are_told_from_another_run_s_loss():
    bits = found(table=replace(TABLE, loss=TABLE.loss / np.log(2.0)))
    assert set(bits) == {"curves-loss-unit"}
    assert "1.44 times" in bits["curves-loss-unit"].what
    assert "0.6931" in bits["curves-loss-unit"].remedy
    swapped = TABLE.loss * np.where(np.arange(15) == 9, 2.2, 1.0)
    off = found(table=replace(TABLE, loss=swapped))
    assert set(off) == {"curves-loss-off"}
    assert re.search(r"by 1[12]\d% at worst", off["curves-loss-off"].what)
    assert off["curves-loss-off"].cost_flops is None


def test_an_evaluation_text_that_is_harder_for_every_run_raises_nothing():
    spread = np.exp(0.14 + 0.1 * np.linspace(-1.0, 1.0, 15))
    assert found(table=replace(TABLE, loss=TABLE.loss * spread)) == {}


def test_runs_and_curves_that_stand_alone_are_counted():
    stranger = replace(curve(0), run="other")
    told = {f.code: f for f in check_curves(TABLE, [*curves()[3:], stranger])}
    assert set(told) == {"runs-without-curve", "curves-without-run"}
    assert "3 of 15 runs have no curve (r0, r1, r2)" in told["runs-without-curve"].what
    assert "1 of 13 curves" in told["curves-without-run"].what
    assert {f.severity for f in told.values()} == {Severity.INFO}


def test_names_that_never_match_are_one_warning():
    (finding,) = check_curves(TABLE, [replace(curve(0), run="other")])
    assert finding.code == "curves-unmatched"
    assert "`key`" in finding.remedy


def test_without_a_learning_rate_nothing_is_said_about_decay():
    silent = [replace(c, lr=np.full(len(c), np.nan)) for c in curves(kind="constant")]
    (finding,) = check_curves(TABLE, silent)
    assert (finding.code, finding.severity) == ("curves-without-lr", Severity.INFO)
