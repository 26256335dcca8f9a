"""Counts follow the formulas; impossible shapes get a sentence; families are buildable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.errors import SpaceError
from planner.shape import ModelShape, ShapeFamily, size_from_mapping

SMALL = ModelShape(
    layers=2, width=32, heads=2, kv_heads=2, head_dim=16, ffn=88, vocab=256, context=128
)


def test_counts_by_hand():
    blocks = 2 * (4 * 32 * 32 + 3 * 32 * 88)
    assert SMALL.params_matmul == blocks + 256 * 32
    assert SMALL.params_non_embedding == blocks + 2 * (2 * 32 + 2 * 16) + 32
    assert SMALL.params_total == SMALL.params_non_embedding + 2 * 256 * 32
    assert SMALL.size.flops_per_token == 6 * SMALL.params_matmul + 12 * 2 * 32 * 128


def test_llama_shape_counts():
    # Llama-2 7B has no QK-norm: 6,738,415,616 parameters (runplan 2.1).
    llama = ModelShape(32, 4096, 32, 32, 128, 11008, 32000, 4096, qk_norm=False)
    assert llama.params_total == 6_738_415_616


def test_flops_do_not_overflow():
    assert ModelShape(96, 12288, 96, 96, 128, 32768, 50000, 2048).size.flops(2e9 * 1e3) > 1e24


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"width": 0}, "width = 0"),
        ({"kv_heads": 3}, "multiple of kv_heads"),
        ({"head_dim": 7}, "odd"),
    ],
)
def test_impossible_shapes_say_why(wrong, says):
    values = SMALL.to_json() | wrong
    with pytest.raises(SpaceError, match=says):
        ModelShape(**values)


def test_width_that_heads_do_not_divide():
    with pytest.raises(SpaceError, match=r"width 50 is not a multiple of head_dim 16; try 48"):
        ShapeFamily(vocab=256, context=128).at_width(50)


@given(st.floats(2e4, 1e11))
def test_near_is_within_a_width_step(params):
    family = ShapeFamily(vocab=256, context=128, head_dim=16 if params < 1e7 else 128)
    assert 0.4 < family.near(params).params_matmul / params < 2.6


def test_family_of_a_ladder_keeps_its_depth():
    family = ShapeFamily(vocab=256, context=128, depth=2)
    assert ShapeFamily.of([family.at_width(w) for w in (16, 32, 64)]).depth == 2


def test_black_box_states_its_params():
    assert size_from_mapping({"params": 1e6}).flops_per_token == 6e6
    with pytest.raises(SpaceError, match="states no `params`"):
        size_from_mapping({"width": 3})
