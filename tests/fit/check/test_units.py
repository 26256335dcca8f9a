"""What a column counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from planner.finding import Severity
from planner.fit.check import check_points
from tests.fit.check.codes import codes, one
from tests.fit.clean_worlds import clean_world
from tests.fit.planted import ladder

DATA = clean_world(0).data
SOME = np.arange(len(DATA)) % 3 == 0


@pytest.mark.parametrize(
    ("spoilt", "code"),
    [
        (replace(DATA, tokens=DATA.tokens / 2048), "units-tokens"),
        (replace(DATA, tokens=np.where(SOME, DATA.tokens / 2048, DATA.tokens)), "units-tokens"),
        (replace(DATA, params=DATA.params / 1e6), "units-params"),
        (replace(DATA, flops=DATA.flops / 1e9), "units-flops"),
        (replace(DATA, flops=DATA.flops / 3), "flops-low"),
        (replace(DATA, loss=np.where(SOME, DATA.loss / np.log(2), DATA.loss)), "units-loss"),
        (replace(DATA, loss=np.where(SOME, DATA.loss / np.log(10), DATA.loss)), "units-loss"),
    ],
)
def test_a_unit_that_contradicts_the_table_is_named(spoilt, code):
    assert code in codes(check_points(spoilt))


@pytest.mark.parametrize("factor", [1.37, 0.61])
def test_harmless_units_raise_nothing(factor):
    other = replace(DATA, loss=DATA.loss / np.log(2), tokens=DATA.tokens * factor)
    assert codes(check_points(replace(other, flops=6 * other.params * other.tokens))) == set()


def test_flops_that_overflowed_to_positive_values_are_seen():
    large = replace(DATA, tokens=DATA.tokens * 100)
    exact = [6 * int(n) * int(d) for n, d in zip(large.params, large.tokens, strict=True)]
    wrapped = replace(large, flops=np.array([value % 2**63 for value in exact], dtype=float))
    finding = one(check_points(wrapped), "flops-overflow")
    assert finding.severity is Severity.BLOCKING


def test_two_ways_of_counting_flops():
    counted = 6 * DATA.params * DATA.tokens
    mixed = replace(DATA, flops=np.where(SOME, 1.3, 1.0) * counted)
    assert "flops-mixed" in codes(check_points(mixed))


def test_embeddings_in_some_rows_show_in_the_shapes_or_in_flops_per_token():
    larger = DATA.params + SOME * 50257.0 * DATA.width
    assert "n-mixed" in codes(check_points(replace(DATA, params=larger)))
    bare = replace(DATA, params=larger, width=DATA.width * np.nan)
    assert codes(check_points(bare)) & {"n-mixed", "flops-mixed"}


def test_unspecified_params_are_told():
    finding = one(check_points(replace(ladder(), n_convention="unspecified")), "n-convention")
    assert finding.severity is Severity.INFO
