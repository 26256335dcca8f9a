import numpy as np
import pytest

from planner.check.coordinate import (
    axis_shapes,
    coordinate_finding,
    measure_slopes,
    unchecked_finding,
)
from planner.finding import Severity
from planner.proxies.gpt import GptProxy
from tests.proxies.toy_tokens import write_tokens


@pytest.fixture
def make(tmp_path, monkeypatch):
    monkeypatch.setenv("PLANNER_CACHE", str(tmp_path / "cache"))
    data = write_tokens(tmp_path)
    return lambda name, **o: GptProxy(data, context=16, parametrization=name, **o)


class Planted:
    """A proxy whose outputs grow as a stated power of the width, with noise between seeds."""

    def __init__(self, noise=0.0, **powers):
        self.powers, self.noise, self.trials = powers, noise, []

    def coordinates(self, trial):
        self.trials.append(trial)
        rng = np.random.default_rng([trial.seed, trial.shape["width"]])
        return {
            kind: list(trial.shape["width"] ** power * np.exp(self.noise * rng.normal(size=10)))
            for kind, power in self.powers.items()
        }


WIDTHS = [{"width": width, "depth": 2} for width in (32, 64, 128)]


def slopes(proxy, shapes=WIDTHS, axis="width", lr=0.01):
    return measure_slopes(proxy, shapes, axis, lr=lr, batch_tokens=64)


def test_planted_slopes_come_back_and_decide():
    found = slopes(Planted(qkv=0.0, logits=1.0))
    assert found.slopes["logits"].value == pytest.approx(1.0)
    assert found.slopes["qkv"].value == pytest.approx(0.0)
    assert found.beyond() == ["logits"]
    assert found.seeds == 4


def test_a_claim_that_fails_blocks_and_sp_is_only_warned_of():
    found = slopes(Planted(logits=1.0))
    broken = coordinate_finding(found, "mup")
    assert broken.severity is Severity.BLOCKING
    assert "logits +1.00" in broken.what
    plain = coordinate_finding(found, "sp")
    assert plain.severity is Severity.WARNING
    assert "mup" in plain.remedy


def test_a_slight_slope_under_a_claim_is_doubted_not_condemned():
    finding = coordinate_finding(slopes(Planted(out=0.15)), "mup")
    assert finding.severity is Severity.WARNING
    assert "larger widths" in finding.remedy


def test_noise_that_hides_the_bound_takes_all_seeds_and_decides_nothing():
    proxy = Planted(noise=1.0, out=0.1)
    finding = coordinate_finding(slopes(proxy), "mup")
    assert finding.severity is Severity.WARNING
    assert "not decided" in finding.what
    assert len({trial.seed for trial in proxy.trials}) == 16


def test_an_axis_needs_three_sizes_that_differ():
    assert axis_shapes(WIDTHS, "width") == WIDTHS
    assert not axis_shapes(WIDTHS, "depth")
    assert not axis_shapes([{"width": w} for w in (64, 80, 96)], "width")
    both = [{"width": 64, "depth": 3}, {"width": 32, "depth": 2}, {"width": 16, "depth": 1}]
    assert [shape["depth"] for shape in axis_shapes(both, "width")] == [3, 3, 3]
    assert "3 widths" in unchecked_finding("width").remedy


def test_sp_grows_with_the_width_where_it_should_and_mup_does_not(make):
    sp = slopes(make("sp"))
    assert {"out", "down", "logits"} <= set(sp.beyond())
    assert all(sp.slopes[kind].value > 0.5 for kind in ("down", "logits"))
    mup = slopes(make("mup", base_width=32))
    assert not mup.beyond()
    assert not mup.unsure()
    assert coordinate_finding(mup, "mup").severity is Severity.INFO


def test_mup_changes_with_the_depth_and_completep_does_not(make):
    deep = [{"width": 32, "depth": depth} for depth in (4, 8, 16)]
    mup = slopes(make("mup", base_width=32), deep, "depth")
    assert "out" in mup.beyond()
    assert coordinate_finding(mup, "mup").severity is Severity.WARNING
    complete = slopes(make("completep", base_width=32, base_depth=4), deep, "depth")
    assert coordinate_finding(complete, "completep").severity is Severity.INFO
