from __future__ import annotations

import numpy as np
import pytest

from planner.fit.discrepancy import FREEDOM, Discrepancy, learned
from planner.fit.laws import CHINCHILLA
from planner.fit.registry import law_named
from planner.fit.select import stacking_weights
from tests.fit.test_select import BENT, PLAIN, grid, rolled


class TestLearned:
    def test_a_law_that_held_keeps_the_default(self) -> None:
        found = [
            learned(rolling, stacking_weights(rolling))
            for rolling in (rolled(grid(CHINCHILLA, PLAIN, seed=s), "chinchilla") for s in range(6))
        ]
        default = Discrepancy()
        losses = np.array([f.loss_per_decade for f in found])
        assert np.median(losses) == pytest.approx(default.loss_per_decade, rel=0.02)
        assert losses.min() >= default.loss_per_decade
        assert min(f.ln_n_per_decade for f in found) >= default.ln_n_per_decade
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


class TestShifts:
    def test_they_grow_with_the_decades_beyond_the_data(self) -> None:
        d = Discrepancy(loss_per_decade=0.04, ln_n_per_decade=0.15, reducible=0.5)
        decades, t = np.array([0.0, 1.0, 2.0]), np.array([[1.0], [-1.0]])
        assert d.log_loss(decades, t) == pytest.approx(
            np.array([[0, 0.02, 0.04], [0, -0.02, -0.04]])
        )
        assert d.log_params(decades, t)[0] == pytest.approx([0.0, 0.15, 0.30])
