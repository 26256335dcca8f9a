from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.errors import UsageError
from planner.units import (
    format_count,
    format_duration,
    format_flops,
    format_gpu_hours,
    format_interval,
    format_money,
    parse_count,
    parse_duration,
    parse_gpu_hours,
    parse_money,
    parse_multiple,
)


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (parse_count, "7B", 7e9),
        (parse_count, "300M tokens", 3e8),
        (parse_count, "300 m", 3e8),
        (parse_count, "1e21", 1e21),
        (parse_count, "2.5e3 params", 2500),
        (parse_count, "1_000_000", 1e6),
        (parse_count, ".5T", 5e11),
        (parse_count, 2e13, 2e13),
        (parse_money, "500usd", 500),
        (parse_money, "$20k", 2e4),
        (parse_money, "1,500 dollars", 1500),
        (parse_gpu_hours, "40gpuh", 40),
        (parse_gpu_hours, "1.5k GPU-hours", 1500),
        (parse_duration, "14d", 14 * 86400),
        (parse_duration, "12 min", 720),
        (parse_duration, "1.5h", 5400),
        (parse_duration, 90, 90),
        (parse_multiple, "2x", 2),
        (parse_multiple, "0.1x", 0.1),
    ],
)
def test_numbers_as_people_write_them(parse, text, value):
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text", "says"),
    [
        (parse_count, "4Q", "'4Q' is not a count such as 300M"),
        (parse_count, "", "is not a count"),
        (parse_count, "many", "is not a count"),
        (parse_count, "-3", "must be finite and not negative"),
        (parse_count, "1e999", "must be finite"),
        (parse_count, math.nan, "is not a count"),
        (parse_count, True, "is not a count"),
        (parse_money, "500eur", "is not an amount such as 500usd"),
        (parse_duration, "3 fortnights", "is not a duration such as 90s"),
        (parse_duration, "40gpuh", "is not a duration"),
        (parse_gpu_hours, "40d", "is not GPU-hours"),
        (parse_multiple, "2y", "is not a multiple such as 2x"),
    ],
)
def test_anything_else_is_refused_with_an_example(parse, text, says):
    with pytest.raises(UsageError, match=says):
        parse(text)


@settings(deadline=None)
@given(st.floats(min_value=1e-6, max_value=1e30))
def test_counts_survive_being_written(value):
    for write in (format_count, format_flops):
        assert parse_count(write(value, 3)) == pytest.approx(value, rel=5.1e-3)
        assert parse_count(write(value, 15)) == pytest.approx(value, rel=1e-13)


@settings(deadline=None)
@given(st.floats(min_value=1e-3, max_value=1e9))
def test_money_and_time_survive_being_written(value):
    assert parse_money(format_money(value)) == pytest.approx(value, rel=5.1e-3)
    assert parse_gpu_hours(format_gpu_hours(value)) == pytest.approx(value, rel=5.1e-3)
    assert parse_duration(format_duration(value)) == pytest.approx(value, rel=5.1e-3)


def test_written_forms():
    counts = [7e9, 3e8, 123_456, 999_999, 0.016, 0, 1.23e21]
    assert " ".join(map(format_count, counts)) == "7B 300M 123k 1M 0.016 0 1.23e21"
    assert format_flops(2e13) == "2e13 FLOPs"
    assert format_money(1_234_567) == "$1,230,000"
    assert format_gpu_hours(12_345) == "12,300 GPU-h"
    assert [format_duration(s) for s in (45, 300, 7300, 200_000)] == [
        "45 s",
        "5 min",
        "2.03 h",
        "2.31 d",
    ]


def test_digits_follow_the_width_of_the_interval():
    assert format_interval(1.683456, 1.6612, 1.7143) == "1.683 [1.661, 1.714]"
    assert format_interval(1.683456, 0.9, 3.2) == "1.7 [0.9, 3.2]"
    assert format_interval(7.123e9, 3.01e9, 1.5049e10, format_count) == "7B [3B, 15B]"
    assert (
        format_interval(123_456, 100_000, 150_000, format_money) == "$123,000 [$100,000, $150,000]"
    )
    assert format_interval(0.0163, 0.009, 0.03) == "0.016 [0.009, 0.030]"
    assert format_interval(7e9, 7e9, 7e9, format_count) == "7B"
    assert format_interval(0.0, -1.0, 1.0, format_count).startswith("0 [")


@settings(deadline=None)
@given(
    st.floats(min_value=1e-4, max_value=1e12),
    st.floats(min_value=1e-4, max_value=10),
)
def test_honest_rounding_hides_less_than_a_tenth_of_the_width(value, spread):
    low, high = value / (1 + spread), value * (1 + spread)
    text = format_interval(value, low, high, format_count)
    numbers = [parse_count(part.strip("[],")) for part in text.split()]
    for shown, number in zip(numbers, (value, low, high), strict=True):
        assert abs(shown - number) <= 0.051 * (high - low)
