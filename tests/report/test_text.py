from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.estimate import Estimate
from planner.finding import Finding, Severity
from planner.report import text
from planner.units import parse_count


@pytest.mark.parametrize(
    ("low", "value", "high", "written"),
    [
        (2.268, 2.312, 2.359, "2.31 [2.27, 2.36]"),
        (1.519, 1.5312, 1.543, "1.531 [1.519, 1.543]"),
        (0.6e9, 2.7e9, 12e9, "2.7B [600M, 12B]"),
        (1.1e-4, 3.2e-4, 8e-4, "3.2e-4 [1.1e-4, 8e-4]"),
        (0.011, 0.016, 0.024, "0.016 [0.011, 0.024]"),
        (7600, 8700, 11_900, "8700 [7600, 11.9k]"),
    ],
)
def test_an_interval_decides_the_digits(low, value, high, written):
    assert text.estimate(Estimate(value, low, high)) == written


def test_a_chosen_number_is_written_as_it_is_typed():
    assert text.estimate(Estimate.exactly(1_048_576.0), "tokens") == "1,048,576 tokens"
    assert text.interval(Estimate.exactly(0.1)) == "chosen, not estimated"
    assert [text.chosen(x) for x in (0.1, 0.0084093, 3.1234e-4, 53.688e9)] == [
        "0.1",
        "0.008409",
        "3.123e-4",
        "53.69B",
    ]


def test_another_level_is_named():
    assert text.interval(Estimate(2.0, 1.9, 2.1, level=0.98)) == "[1.90, 2.10] (98 %)"


@given(st.floats(1e-8, 1e14), st.floats(1.0001, 100), st.floats(1.0001, 100))
def test_what_is_written_is_within_the_rounding_of_what_is_meant(value, below, above):
    meant = Estimate(value, value / below, value * above)
    numbers = re.findall(r"[\d.]+(?:e-?\d+)?[kMBT]?", text.estimate(meant))
    half = (meant.high - meant.low) / 2
    for number, exact in zip(numbers, (meant.value, meant.low, meant.high), strict=True):
        assert math.isclose(parse_count(number), exact, rel_tol=0.051, abs_tol=0.05 * half)


def test_a_finding_names_its_remedy_and_the_price():
    one = Finding("thin", Severity.WARNING, "two seeds only.", "run 2 more seeds", 3e15)
    assert text.finding(one) == (
        "Two seeds only. What would remove it: run 2 more seeds. Cost: 3e15 FLOPs."
    )
