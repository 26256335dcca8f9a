"""The rate at which rounds take doubt off the target."""

import pytest

from planner.bought import Doubt, bought, unit_of
from planner.status import print_status, read_status


def test_the_rate_is_what_a_unit_of_cost_took_off():
    rounds = [(1e12, Doubt(0.5)), (2e12, Doubt(0.3, 0.8)), (4e12, Doubt(0.34, 0.4))]
    first, second, third = bought(rounds, 1e12)
    assert first == (None, None)
    assert second.regret == pytest.approx(0.1)
    assert second.width is None
    assert third == pytest.approx((-0.01, 0.1))
    assert (first.told, second.told, third.told) == ("-", "+0.1", "-0.01, +0.1")


def test_a_round_that_was_not_noted_or_cost_nothing_says_nothing():
    rounds = [(1.0, Doubt(0.5)), (1.0, None), (2.0, Doubt(0.1)), (0.0, Doubt(0.1))]
    assert [one.regret for one in bought(rounds, 1.0)] == [None, None, pytest.approx(0.2), None]
    assert bought([], 1.0) == []


def test_the_unit_is_a_power_of_ten_some_round_reached():
    assert unit_of([3e10, 4.2e12, 1e11]) == 1e12
    assert unit_of([0.0]) == unit_of([]) == 1.0


def test_a_status_tells_the_rate_per_flops_and_per_dollar(copied, capsys):
    rounds = read_status(copied).to_json()["bought"]
    last, before = rounds[-1], rounds[-2]["left"]["regret_nats"]
    off = (before - last["left"]["regret_nats"]) * float(last["per"].split()[0])
    assert last["regret_nats_off"] == pytest.approx(off / last["spent_flops"])
    assert last["interval_nats_off"] is not None
    space = copied / "space.yaml"
    space.write_text(space.read_text().replace("  price: null", "  price: 3600.0", 1))
    status = read_status(copied)
    last = status.to_json()["bought"][-1]
    assert last["per"] == "$1"
    spent = status.usd * last["trial_seconds"] / status.fold.trial_seconds
    off = before - last["left"]["regret_nats"]
    assert last["regret_nats_off"] == pytest.approx(off / spent)
    print_status(copied, audit=False, as_json=False)
    told = capsys.readouterr().out
    assert f"took, per $1, {last['regret_nats_off']:+.2g} nats off the regret" in told
