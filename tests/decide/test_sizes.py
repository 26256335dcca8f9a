from __future__ import annotations

import numpy as np
import pytest

from planner.decide.sizes import BlackBox, ladder
from planner.shape import ShapeFamily, Size

FAMILY = ShapeFamily(vocab=256, context=128, head_dim=16, aspect=64)


def test_large_shapes_are_what_matrix_units_like():
    for shape in FAMILY.shapes(1e9, 1e11)[1:]:
        assert shape.head_dim == 64
        assert shape.ffn % 128 == 0
        assert shape.width % (64 if shape.width < 2048 else 128) == 0
        assert shape.heads * shape.head_dim == shape.width


def test_small_shapes_keep_the_ladders_heads():
    assert {shape.head_dim for shape in FAMILY.shapes(1e4, 1e6)} == {16}


@pytest.mark.parametrize(
    "convention", ["params_matmul", "params_non_embedding", "params_total", "unspecified"]
)
def test_sizes_are_counted_and_priced_as_the_law_does(convention):
    real = ladder(FAMILY, (1e5, 1e8), convention, "6N+attn")
    plain = ladder(FAMILY, (1e5, 1e8), convention, "6ND")
    assert (np.diff(real.params) > 0).all()
    assert plain.flops_per_token == pytest.approx(6 * plain.params)
    assert real.price(real.params) == pytest.approx(real.flops_per_token)
    assert all(
        price == size.flops_per_token
        for price, size in zip(real.flops_per_token, real.sizes, strict=True)
    )


def test_a_black_box_costs_what_its_ladder_cost():
    family = BlackBox.of([Size(1e6, 1e6, 1e6, 8e6), Size(2e6, 2e6, 2e6, 16e6)])
    assert family.flops_per_param == 8
    rungs = ladder(family, (1e6, 1e8), "params_matmul", "6N+attn")
    assert rungs.shapes[0] is None
    assert np.diff(np.log(rungs.params)).max() < 0.05
