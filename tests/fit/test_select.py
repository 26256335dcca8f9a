from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from planner.fit.law_fit import LawFit, fit_law
from planner.fit.laws import CHINCHILLA, Law
from planner.fit.points import Points
from planner.fit.registry import law_named
from planner.fit.select import (
    Rolling,
    candidates,
    choose,
    fresh_weights,
    rolling_origin,
    stacking_weights,
)
from planner.observations import Observations
from tests.fit.planted import observed

PLAIN = np.array([1.8, 480.0, 2100.0, 0.35, 0.37])
BENT = np.array([1.78, 2.5e6, 3.1e4, 0.715, 0.436, 0.43])
"""The coupled law nearest to a public set of IsoFLOP runs."""


def grid(law: Law, theta: np.ndarray, *, noise: float = 0.003, seed: int = 0) -> Observations:
    """IsoFLOP rungs over two and a half decades, eight sizes each."""
    rng = np.random.default_rng(seed)
    flops = np.repeat(np.geomspace(3e18, 1e21, 6), 8)
    best = np.array([float(law.optimal_params(theta[None], c)[0]) for c in flops])
    params = best * np.tile(np.geomspace(0.3, 3.0, 8), 6)
    tokens = flops / 6 / params
    loss = law.predict(theta, params, tokens) * np.exp(noise * rng.standard_normal(len(params)))
    return observed(params, tokens, loss)


def fits_of(runs: Observations, laws: tuple[Law, ...]) -> list[LawFit]:
    def points(law: Law) -> Points:
        extra = getattr(runs, law.extra) if law.extra else None
        return Points.of(runs.params, runs.tokens, runs.loss, extra=extra)

    return [fit_law(points(law), law, None, runs.group, 0) for law in laws]


def rolled(runs: Observations, *names: str) -> Rolling:
    laws = tuple(law_named(name) for name in names) if names else candidates(runs)
    return rolling_origin(fits_of(runs, laws), runs.flops, runs.group)


def share(rolling: Rolling, name: str) -> float:
    names = [fit.law.name for fit in rolling.fits]
    return float(stacking_weights(rolling)[names.index(name)])


def chosen(rolling: Rolling) -> str:
    return rolling.fits[choose(rolling)].law.name


class TestCandidates:
    def test_few_rows_are_met_by_plain_sums_only(self) -> None:
        runs = grid(CHINCHILLA, PLAIN).take(np.arange(12))
        assert {law.name for law in candidates(runs)} == {"chinchilla", "chinchilla-tied"}

    def test_many_rows_are_met_by_every_form_of_size_and_tokens_once(self) -> None:
        names = {law.name for law in candidates(grid(CHINCHILLA, PLAIN))}
        assert {"coupled", "bounded-rational", "farseer", "kaplan-floor"} <= names
        assert not names & {"over-training", "batch", "data-constrained"}

    def test_repeated_data_bring_the_law_of_repeated_data(self) -> None:
        runs = grid(CHINCHILLA, PLAIN)
        again = replace(runs, unique_tokens=runs.tokens / 3)
        assert "data-constrained" in {law.name for law in candidates(again)}


@pytest.fixture(scope="module")
def bent() -> Rolling:
    return rolled(grid(law_named("coupled"), BENT))


@pytest.fixture(scope="module")
def plain() -> Rolling:
    return rolled(grid(CHINCHILLA, PLAIN))


class TestWeights:
    def test_weights_sum_to_one(self, bent: Rolling, plain: Rolling) -> None:
        assert stacking_weights(bent).sum() == pytest.approx(1.0)
        assert stacking_weights(plain).sum() == pytest.approx(1.0)

    def test_the_law_that_is_wrong_loses_its_weight(self, bent: Rolling) -> None:
        assert share(bent, "chinchilla") < 0.1
        assert chosen(bent) != "chinchilla"

    def test_the_plain_law_is_chosen_where_it_is_right(self, plain: Rolling) -> None:
        assert chosen(plain) == "chinchilla"
        assert share(plain, "chinchilla") > share(plain, "kaplan-floor")

    def test_a_closer_fit_inside_the_rows_earns_nothing(self) -> None:
        rng = np.random.default_rng(3)
        runs = grid(CHINCHILLA, PLAIN, noise=0.02, seed=5).take(np.sort(rng.permutation(48)[:32]))
        rolling = rolled(runs, "chinchilla", "farseer")
        inside = [np.abs(law_residuals(fit)).mean() for fit in rolling.fits]
        assert inside[1] < inside[0]
        assert share(rolling, "chinchilla") > share(rolling, "farseer")

    def test_one_law_has_all_the_weight(self) -> None:
        rolling = rolled(grid(CHINCHILLA, PLAIN), "kaplan-floor")
        assert stacking_weights(rolling).tolist() == [1.0]
        assert chosen(rolling) == "kaplan-floor"

    def test_weights_are_equal_where_nothing_can_be_held_out(self) -> None:
        runs = grid(CHINCHILLA, PLAIN)
        rung = runs.take(runs.flops > 0.9 * runs.flops.max())
        level = replace(rung, flops=np.full(len(rung), 1e21))
        rolling = rolled(level, "chinchilla", "chinchilla-tied")
        assert stacking_weights(rolling) == pytest.approx([0.5, 0.5])
        assert np.isnan(rolling.errors).all()


class TestRobustness:
    def test_one_wild_run_beyond_the_origins_moves_little(self) -> None:
        runs = grid(CHINCHILLA, PLAIN)
        loss = runs.loss.copy()
        loss[int(np.argmax(runs.flops))] *= 1.3
        wild = rolled(replace(runs, loss=loss), "chinchilla", "coupled", "kaplan-floor")
        calm = rolled(runs, "chinchilla", "coupled", "kaplan-floor")
        assert stacking_weights(wild) == pytest.approx(stacking_weights(calm), abs=0.15)
        assert chosen(wild) == chosen(calm)

    def test_checkpoints_of_one_run_have_one_vote(self) -> None:
        runs = grid(CHINCHILLA, PLAIN)
        last = len(runs) - 1
        rows = np.concatenate([np.arange(len(runs)), np.full(30, last)])
        many = replace(runs.take(rows), group=tuple(runs.group[i] for i in rows))
        one, more = (rolled(each, "chinchilla", "kaplan-floor") for each in (runs, many))
        assert more.errors == pytest.approx(one.errors, rel=0.1)

    def test_other_units_give_the_same_weights(self) -> None:
        runs = grid(law_named("coupled"), BENT)
        other = replace(
            runs,
            params=runs.params * 1.37,
            tokens=runs.tokens * 0.61,
            flops=runs.flops * 10.0,
            loss=runs.loss / np.log(2),
        )
        weights = [stacking_weights(rolled(each)) for each in (runs, other)]
        assert weights[1] == pytest.approx(weights[0], abs=1e-5)

    def test_every_run_above_an_origin_is_larger_than_those_below(self) -> None:
        runs = grid(CHINCHILLA, PLAIN)
        for origin in rolled(runs, "chinchilla").origins:
            assert runs.flops[origin.after].min() > origin.reach
            assert (origin.decades > 0).all()


class TestRepeatedData:
    def test_weights_fade_with_the_epochs(self) -> None:
        runs = grid(CHINCHILLA, PLAIN).take(np.arange(4))
        again = replace(runs, unique_tokens=runs.tokens / np.array([1.0, 4.0, 16.0, 160.0]))
        weights = fresh_weights(again)
        assert weights[0] == pytest.approx(1.0, abs=0.01)
        assert weights[1] > 0.9
        assert weights[2] == pytest.approx(0.5)
        assert weights[3] < 0.02

    def test_unknown_epochs_count_in_full(self) -> None:
        assert fresh_weights(grid(CHINCHILLA, PLAIN)) == pytest.approx(1.0, abs=0.01)


def law_residuals(fit: LawFit) -> np.ndarray:
    return fit.law.evaluate(fit.points, fit.solution.free[None])[0][0] - fit.points.y
