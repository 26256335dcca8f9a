from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from planner.fit.discrepancy import FREEDOM, Discrepancy, learned
from planner.fit.engine import fit_loss
from planner.fit.laws import CHINCHILLA, optimal_params
from planner.fit.registry import law_named
from planner.fit.select import stacking_weights
from planner.observations import Observations
from tests.fit.planted import observed
from tests.fit.test_select import BENT, PLAIN, grid, rolled


class TestLearned:
    def test_the_loss_of_a_law_that_held_keeps_the_default(self) -> None:
        found = [
            learned(rolling, stacking_weights(rolling))
            for rolling in (rolled(grid(CHINCHILLA, PLAIN, seed=s), "chinchilla") for s in range(6))
        ]
        default = Discrepancy()
        losses = np.array([f.loss_per_decade for f in found])
        assert np.median(losses) == pytest.approx(default.loss_per_decade, rel=0.02)
        assert losses.min() >= default.loss_per_decade
        assert all(FREEDOM < f.freedom <= FREEDOM + 3 for f in found)

    def test_a_wrong_law_raises_it(self) -> None:
        rolling = rolled(grid(law_named("coupled"), BENT, noise=0.001), "chinchilla")
        assert learned(rolling, stacking_weights(rolling)).loss_per_decade > 0.05

    def test_the_average_of_laws_that_hold_is_trusted_more_than_the_wrong_one(self) -> None:
        runs = grid(law_named("coupled"), BENT, noise=0.001)
        alone, with_others = rolled(runs, "chinchilla"), rolled(runs)
        first = learned(alone, stacking_weights(alone))
        second = learned(with_others, stacking_weights(with_others))
        assert second.loss_per_decade < first.loss_per_decade

    def test_without_an_origin_the_default_stands(self) -> None:
        runs = grid(CHINCHILLA, PLAIN).take(np.arange(8))
        rolling = rolled(runs, "chinchilla")
        found = learned(rolling, stacking_weights(rolling))
        assert found.loss_per_decade == pytest.approx(Discrepancy().loss_per_decade)
        assert found.freedom == FREEDOM

    def test_the_reducible_share_is_that_of_the_largest_run(self) -> None:
        runs = grid(CHINCHILLA, PLAIN, noise=1e-4)
        rolling = rolled(runs, "chinchilla")
        top = int(np.argmax(runs.params * runs.tokens))
        expected = 1.0 - PLAIN[0] / runs.loss[top]
        found = learned(rolling, stacking_weights(rolling))
        assert found.reducible == pytest.approx(expected, abs=0.01)


def bent_path(bend: float, *, noise: float = 0.001, seed: int = 0) -> Observations:
    """IsoFLOP rungs whose ln N* bends by ``bend`` per squared decade below the largest C."""
    rng = np.random.default_rng(seed)
    flops = np.repeat(np.geomspace(3e18, 1e21, 6), 8)
    params = optimal_params(PLAIN, flops) * np.tile(np.geomspace(0.3, 3.0, 8), 6)
    tokens = flops / 6 / params
    tilt = np.exp(bend * np.log10(flops / flops.max()) ** 2 / 2)
    loss = CHINCHILLA.predict(PLAIN, params / tilt, tokens * tilt)
    return observed(params, tokens, loss * np.exp(noise * rng.standard_normal(len(loss))))


def from_path(runs: Observations, *laws: str) -> Discrepancy:
    rolling = rolled(runs, *laws)
    return learned(rolling, stacking_weights(rolling))


class TestBestSize:
    @pytest.mark.parametrize("law", ["chinchilla", "chinchilla-tied", "coupled"])
    @pytest.mark.parametrize("bend", [-0.2, 0.2])
    def test_a_planted_bend_is_read_off_whatever_law_is_fitted(self, law: str, bend: float) -> None:
        found = from_path(bent_path(bend), law)
        assert 0.5 < 2 * found.bow * found.ln_n_drift / bend < 1.05

    def test_the_best_size_beyond_the_data_follows_the_bend(self) -> None:
        runs, bend = bent_path(-0.2), -0.2
        fit = fit_loss(runs, law="chinchilla")
        top = float(runs.flops.max())
        truth = np.log(optimal_params(PLAIN, 100 * top)) + bend * 2**2 / 2
        statistical, predictive = (
            np.log(fit.optimal_params_draws(100 * top, kind=kind))
            for kind in ("statistical", "predictive")
        )
        assert np.quantile(statistical, 0.05) > truth
        assert abs(np.median(predictive) - truth) < 0.5 * abs(np.median(statistical) - truth)
        low, high = np.quantile(predictive, [0.05, 0.95])
        assert low < truth < high

    def test_a_straight_path_seen_clearly_narrows_the_default_to_what_data_cannot_tell(
        self,
    ) -> None:
        found = [from_path(bent_path(0.0, seed=s), "chinchilla") for s in range(6)]
        default = Discrepancy().ln_n_per_decade
        assert max(f.ln_n_per_decade for f in found) < 0.8 * default
        assert min(f.ln_n_per_decade for f in found) > 0.3 * default
        assert max(abs(f.ln_n_drift) for f in found) < 0.1

    def test_noise_that_hides_every_bend_leaves_the_default(self) -> None:
        found = from_path(bent_path(0.0, noise=0.1), "chinchilla")
        variance = found.ln_n_per_decade**2 * found.freedom / (found.freedom - 2)
        default = Discrepancy().ln_n_per_decade ** 2 * FREEDOM / (FREEDOM - 2)
        assert variance == pytest.approx(default, rel=0.15)

    def test_rows_of_one_run_say_it_once(self) -> None:
        runs = bent_path(-0.2, noise=0.003)
        four = replace(runs.take(np.tile(np.arange(len(runs)), 4)), group=tuple(runs.group) * 4)
        once, again = from_path(runs, "chinchilla"), from_path(four, "chinchilla")
        assert again.ln_n_per_decade > 0.85 * once.ln_n_per_decade


class TestShifts:
    def test_the_bent_share_grows_with_the_square(self) -> None:
        d = Discrepancy(ln_n_per_decade=0.1, ln_n_drift=-0.2, bow=0.25)
        decades, t = np.array([0.0, 1.0, 2.0]), np.array([[0.0], [1.0]])
        assert d.log_params(decades, t) == pytest.approx(
            np.array([[0.0, -0.2, -0.5], [0.0, -0.1, -0.25]])
        )

    def test_they_grow_with_the_decades_beyond_the_data(self) -> None:
        d = Discrepancy(loss_per_decade=0.04, ln_n_per_decade=0.15, reducible=0.5)
        decades, t = np.array([0.0, 1.0, 2.0]), np.array([[1.0], [-1.0]])
        assert d.log_loss(decades, t) == pytest.approx(
            np.array([[0, 0.02, 0.04], [0, -0.02, -0.04]])
        )
        assert d.log_params(decades, t)[0] == pytest.approx([0.0, 0.15, 0.30])
