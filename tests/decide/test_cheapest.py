from __future__ import annotations

import pytest

from planner.decide.allocate import allocate
from planner.decide.cheapest import cheapest
from planner.decide.sizes import BlackBox
from tests.planted import planted_fit


@pytest.mark.parametrize(
    ("served", "params", "tokens"),
    [(0.0, 9.05e9, 1.84e11), (1e12, 4.62e9, 4.47e11), (1e13, 2.78e9, 1.49e12)],
)
def test_inference_aware_optimum_meets_the_published_vectors(served, params, tokens):
    fit = planted_fit(exponent_sd=0.0)
    best = allocate(fit, 1e22, BlackBox())
    loss = min(candidate.loss_nats for candidate in best.candidates)
    found = cheapest(fit, loss, BlackBox(), (best.params, best.tokens), served)
    assert found is not None
    assert found.params == pytest.approx(params, rel=0.04)
    assert found.tokens == pytest.approx(tokens, rel=0.06)
    assert found.loss_nats == pytest.approx(loss, rel=1e-9)


def test_a_loss_below_the_floor_is_reached_by_nothing():
    assert cheapest(planted_fit(), 1.8, BlackBox(), (1e9, 1e10)) is None
