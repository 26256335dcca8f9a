from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t as student_t

from planner.decide.allocate import Caps, allocate, best_size, evaluate
from planner.decide.sizes import BlackBox
from planner.decide.split import point_loss
from planner.errors import EvidenceError, UsageError
from planner.fit.laws import optimal_params
from planner.shape import ShapeFamily
from tests.planted import BESIROGLU, planted_fit

FAMILY = ShapeFamily(vocab=32_000, context=2048, head_dim=64, aspect=128)
FIT = planted_fit()


@pytest.mark.parametrize(
    ("flops", "params", "tokens"),
    [(1e19, 2.62e8, 6.36e9), (1e21, 2.78e9, 6.00e10), (5.76e23, 7.2e10, 1.33e12)],
)
def test_published_optimum_is_met(flops, params, tokens):
    found = allocate(FIT, flops, BlackBox())
    assert found.optimum == pytest.approx(params, rel=0.01)
    assert flops / 6 / found.optimum == pytest.approx(tokens, rel=0.01)
    assert found.params == pytest.approx(params, rel=0.03)
    assert found.params * found.tokens * 6 == pytest.approx(flops)


def test_flat_region_is_that_of_the_closed_form():
    found = allocate(FIT, 1e21, BlackBox())
    low, high = (end / found.optimum for end in found.flat)
    assert 0.68 < low < 0.74
    assert 1.42 < high < 1.52


def test_buildable_shape_is_the_brute_force_best_with_attention_paid():
    fit = replace(FIT, flops_convention="6N+attn")
    found = allocate(fit, 3e20, FAMILY)
    shapes = FAMILY.shapes(1e8, 2e10)
    losses = [
        point_loss(
            fit,
            np.array([float(s.params_matmul)]),
            np.array([3e20 / s.size.flops_per_token]),
        )[0]
        for s in shapes
    ]
    assert found.shape == shapes[int(np.argmin(losses))]
    assert found.size.flops(found.tokens) == pytest.approx(3e20)
    assert found.flops == pytest.approx(3e20)
    assert found.shape.width % found.shape.head_dim == 0


def test_interval_of_the_optimum_follows_the_draws():
    found = allocate(FIT, 1e21, BlackBox())
    low, high = np.quantile(optimal_params(FIT.draws, 1e21), [0.05, 0.95])
    assert found.params_estimate.low == pytest.approx(low, rel=0.02)
    assert found.params_estimate.high == pytest.approx(high, rel=0.02)


def test_discrepancy_and_widening_stretch_the_interval():
    def spread(fit, flops):
        size = allocate(fit, flops, BlackBox()).params_estimate
        return np.log(size.high / size.low)

    sure = planted_fit(exponent_sd=0.0)
    assert spread(sure, 1e22) == pytest.approx(0.0, abs=0.05)
    tail = student_t.ppf(0.95, sure.discrepancy.freedom)
    assert spread(sure, 1e24) == pytest.approx(2 * tail * 0.15 * 2, rel=0.15)
    assert spread(FIT.widened(2.0), 1e21) == pytest.approx(2 * spread(FIT, 1e21), rel=0.05)


def test_caps_bind():
    small = allocate(FIT, 1e21, FAMILY, Caps(max_params=1e9))
    assert 8e8 < small.params <= 1e9
    few = allocate(FIT, 1e21, BlackBox(), Caps(unique_tokens=5e9))
    assert few.tokens <= 2e10 * 1.0001
    assert few.params > allocate(FIT, 1e21, BlackBox()).params
    both = allocate(FIT, 1e21, BlackBox(), Caps(max_params=1e9, max_tokens=1e10))
    assert both.flops == pytest.approx(6e19, rel=0.05)


def test_impossible_caps_and_lawless_optima_are_refused():
    with pytest.raises(UsageError, match="smallest has"):
        allocate(FIT, 1e21, FAMILY, Caps(max_params=1e5))
    wrong = dict(BESIROGLU) | {"alpha": 0.02, "A": 10.0, "beta": 1.5}
    (member,) = FIT.members
    lawless = replace(FIT, members=(replace(member, params=wrong),))
    with pytest.raises(EvidenceError, match="both sides of the optimum"):
        allocate(lawless, 1e21, BlackBox())


def test_a_given_size_is_taken_and_set_beside_the_optimum():
    found = evaluate(FIT, 7e9, 1.4e11, FAMILY)
    assert found.params == pytest.approx(7e9, rel=0.1)
    assert found.tokens == 1.4e11
    assert found.optimum == pytest.approx(float(optimal_params(FIT.draws[0], found.flops)), rel=0.2)
    assert found.loss.low < found.loss.value < found.loss.high


def test_best_size_is_the_lowest_loss_at_equal_compute():
    sizes = [FAMILY.near(n).size for n in (1e9, 3e9, 9e9)]
    assert best_size(FIT, 1e21, sizes) == 1
