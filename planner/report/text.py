"""How a number is written: as many digits as its interval supports, with its unit.

An interval's half width is shown with one significant digit, or two when it starts with 1 or 2
(the rule of the Particle Data Group), and no number with fewer than two: sizes and learning rates
are known by factors, and "3B [1B, 12B]" would hide that the lower end is 600M. So 1.5312 +- .012
reads "1.531 [1.519, 1.543]" and a size known within x4 reads "2.7B [600M, 12B]".
"""

from __future__ import annotations

import math

from planner.estimate import LEVEL, Estimate
from planner.finding import Finding
from planner.units import format_count, format_flops

PLAIN = (1e-3, 1e4)
"""Numbers in this range are written without scale letter or exponent."""
EXACT_BELOW = 1e7
"""Chosen integers below this are written in full."""


def number(value: float, digits: int = 2) -> str:
    """Write a number with significant digits, plain between .001 and 10,000: 0.016, 8700, 11.9k."""
    if not math.isfinite(value):
        return "not known" if math.isnan(value) else "unbounded"
    if PLAIN[0] <= abs(value) < PLAIN[1]:
        return f"{value:.{max(0, digits - 1 - _power(value))}f}"
    return format_count(value, digits)


def count(value: float) -> str:
    """Write how many there are of something: 512, 33.3k, 1.15M, 54B."""
    whole = abs(value) < PLAIN[1] and value == round(value)
    return f"{value:.0f}" if whole else format_count(value)


def chosen(value: float) -> str:
    """Write a chosen value as it is typed into a trainer: to four significant digits or in full."""
    if value == round(value) and abs(value) < EXACT_BELOW:
        return f"{value:,.0f}"
    return f"{value:.4g}" if PLAIN[0] <= abs(value) < PLAIN[1] else format_count(value, 4)


def flops(value: float) -> str:
    """Write a compute, always in powers of ten: 1.2e15 FLOPs."""
    return format_flops(value, 2)


def power_of_ten(value: float) -> str:
    """Write a compute without its unit, for the ticks of an axis: 1e15."""
    return format_flops(value, 2).removesuffix(" FLOPs")


def percent(share: float) -> str:
    """Write a share as per cent, with a digit after the point below 10 %."""
    if 0 < share < 0.0005:
        return "under 0.1 %"
    return f"{100 * share:.{1 if abs(share) < 0.1 else 0}f} %"


def times(ratio: float) -> str:
    """Write a ratio: x41, x2.5."""
    return f"x{ratio:,.0f}" if ratio >= 10 else f"x{ratio:.2g}"


def interval(estimate: Estimate) -> str:
    """Write the interval of an estimate, [2.27, 2.36]; its level is named where it is not 90 %."""
    if estimate.low == estimate.high:
        return "chosen, not estimated"
    low, _, high = _written(estimate)
    level = "" if estimate.level in (LEVEL, 1.0) else f" ({100 * estimate.level:g} %)"
    return f"[{low}, {high}]{level}"


def estimate(estimate: Estimate, unit: str = "") -> str:
    """Write value, interval and unit; a chosen number has no interval to write."""
    if estimate.low == estimate.high:
        return f"{chosen(estimate.value)} {unit}".rstrip()
    return f"{_written(estimate)[1]} {interval(estimate)} {unit}".rstrip()


def sentence(words: str) -> str:
    """Make a phrase a sentence: a capital, a full stop."""
    return f"{words[:1].upper()}{words[1:].rstrip('. ')}." if words else ""


def finding(one: Finding) -> str:
    """Write a finding as running text: what, what would remove it, and what that costs."""
    words = [sentence(one.what)]
    if one.remedy:
        words.append(f"What would remove it: {one.remedy.rstrip('. ')}.")
    if one.cost_flops:
        words.append(f"Cost: {flops(one.cost_flops)}.")
    return " ".join(words)


def plural(how_many: float, noun: str) -> str:
    """Write a count with its noun: 1 trial, 12 trials."""
    return f"{how_many:,g} {noun}{'' if how_many == 1 else 's'}"


def _written(estimate: Estimate) -> tuple[str, str, str]:
    """Write low, value, high with the digits the interval's width supports, two at least."""
    half = (estimate.high - estimate.low) / 2
    last = _power(half) - (f"{half:e}"[0] in "12")

    def write(value: float) -> str:
        return number(value, max(2, _power(value) - last + 1) if value else 1)

    return write(estimate.low), write(estimate.value), write(estimate.high)


def _power(value: float) -> int:
    """Return the power of ten of a number's first digit."""
    return math.floor(math.log10(abs(value)) + 1e-12)
