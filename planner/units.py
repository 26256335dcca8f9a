"""Counts, FLOPs, money, durations and GPU-hours: read as people write them, written honestly.

A number is a decimal with an optional scale (k, M, B or G, T, P) and an optional unit word:
``7B``, ``300M tokens``, ``1e21 FLOPs``, ``500usd``, ``14d``, ``40gpuh``, ``2x``. Written numbers
carry no more digits than their interval supports.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

from planner.errors import UsageError

SCALES: Mapping[str, float] = {
    "": 1.0,
    "k": 1e3,
    "m": 1e6,
    "b": 1e9,
    "g": 1e9,
    "t": 1e12,
    "p": 1e15,
}
"""Factors of the scale letters, in either case."""

SECONDS: Mapping[str, float] = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
"""Seconds per unit of time."""

_TIME_WORDS = {
    "s": "s|sec|secs|seconds?",
    "min": "min|mins|minutes?",
    "h": "h|hrs?|hours?",
    "d": "d|days?",
    "w": "w|weeks?",
}
_NUMBER = r"(?P<number>[+-]?(?:\d[\d_,]*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)"
_COUNT_WORDS = r"tokens?|params?|parameters?|flops?|steps?|gpus?"


def parse_count(text: str | float) -> float:
    """Read a count or FLOPs: ``7B``, ``300M tokens``, ``1e21``, ``2.5e3 params``.

    Raises UsageError for anything that is not a finite number >= 0 with a known scale and unit.
    """
    return _parse(
        text, rf"(?P<scale>[kmbgtp]?)\s*(?:{_COUNT_WORDS})?", "a count such as 300M or 2e13"
    )


def parse_money(text: str | float) -> float:
    """Read US dollars: ``500usd``, ``$20k``, ``1,500``. Raises UsageError."""
    bare = text.strip().removeprefix("$") if isinstance(text, str) else text
    return _parse(
        bare, r"(?P<scale>[kmb]?)\s*(?:usd|dollars?)?", "an amount such as 500usd or $20k"
    )


def parse_gpu_hours(text: str | float) -> float:
    """Read GPU-hours: ``40gpuh``, ``1.5k GPU-hours``, ``40``. Raises UsageError."""
    words = r"(?P<scale>[km]?)\s*(?:gpu[ -]?(?:h|hours?))?"
    return _parse(text, words, "GPU-hours such as 40gpuh")


def parse_multiple(text: str | float) -> float:
    """Read a multiple of something named elsewhere: ``2x``, ``0.1x``, ``2``. Raises UsageError."""
    return _parse(text, r"(?P<scale>)x?", "a multiple such as 2x")


def parse_duration(text: str | float) -> float:
    """Read a duration in seconds: ``90s``, ``12 min``, ``1.5h``, ``14d``; a bare number is seconds.

    Raises UsageError.
    """
    words = "|".join(f"(?P<{unit}>{spelled})" for unit, spelled in _TIME_WORDS.items())
    return _parse(text, f"(?:{words})?", "a duration such as 90s, 12 min, 1.5h or 14d")


def _parse(text: str | float, suffix: str, example: str) -> float:
    match = re.fullmatch(rf"{_NUMBER}\s*{suffix}", str(text).strip(), re.IGNORECASE)
    if match is None or isinstance(text, bool):
        raise UsageError(f"{text!r} is not {example}")
    found = {name: word for name, word in match.groupdict().items() if word}
    value = float(found.pop("number").replace(",", "").replace("_", ""))
    value *= SCALES.get(found.pop("scale", "").lower(), 1.0)
    for unit in found:
        value *= SECONDS[unit]
    if not (math.isfinite(value) and value >= 0):
        raise UsageError(f"{text!r} is not {example}: it must be finite and not negative")
    return value


WIDE = 10.0
"""Ratio of an interval's ends from which its numbers are rounded one by one."""


def format_count(value: float, digits: int = 3) -> str:
    """Write a count with a scale letter: 7e9 is ``7B``; below 0.001 and from 1e15 on as 1.2e21."""
    rounded = float(f"{value:.{digits}g}")
    if rounded != 0 and not 1e-3 <= abs(rounded) < 1e15:
        return _exponent(f"{rounded:.{digits - 1}e}")
    for letter, factor in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(rounded) >= factor:
            return f"{_plain(rounded / factor, digits)}{letter}"
    return _plain(rounded, digits)


def format_flops(value: float, digits: int = 3) -> str:
    """Write FLOPs: ``2e13 FLOPs``."""
    return f"{_exponent(f'{value:.{digits - 1}e}')} FLOPs"


def format_money(value: float, digits: int = 3) -> str:
    """Write US dollars: ``$1,230``, ``$0.52``."""
    return f"${_plain(value, digits)}"


def format_gpu_hours(value: float, digits: int = 3) -> str:
    """Write GPU-hours: ``1,250 GPU-h``."""
    return f"{_plain(value, digits)} GPU-h"


def format_duration(seconds: float, digits: int = 3) -> str:
    """Write a duration in the largest unit (s, min, h, d) it fills at least twice."""
    unit = next((u for u in ("d", "h", "min") if seconds >= 2 * SECONDS[u]), "s")
    return f"{_plain(seconds / SECONDS[unit], digits)} {unit}"


def format_interval(
    value: float, low: float, high: float, write: Callable[[float, int], str] | None = None
) -> str:
    """Write ``value [low, high]`` with the digits its width supports.

    All three are rounded to the decimal place that leaves two digits of ``high - low``; when the
    ends differ by more than ``WIDE`` each keeps two digits of its own, as on a log axis. ``write``
    is one of the formatters above (called with the digits to keep); without it plain decimals are
    written. A point, ``low == high``, keeps three digits.
    """
    if low > 0 and high > WIDE * low:
        texts = [write(x, 2) if write else _plain(x, 2) for x in (value, low, high)]
        return f"{texts[0]} [{texts[1]}, {texts[2]}]"
    step = _step(low, high) if high > low else 0.0
    if not step:
        return write(value, 3) if write else f"{value:.3g}"
    texts = [_at_step(number, step, write) for number in (value, low, high)]
    return f"{texts[0]} [{texts[1]}, {texts[2]}]"


def _step(low: float, high: float) -> float:
    return 10.0 ** (math.floor(math.log10(high - low)) - 1)


def _at_step(number: float, step: float, write: Callable[[float, int], str] | None) -> str:
    places = -round(math.log10(step))
    rounded = round(number, places)
    if write is None:
        return f"{rounded:,.{max(places, 0)}f}"
    if rounded == 0:
        return write(0.0, 1)
    return write(rounded, max(1, math.floor(math.log10(abs(rounded))) + places + 1))


def _plain(value: float, digits: int) -> str:
    """Write ``digits`` significant digits without an exponent and without trailing zeros."""
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    text = f"{round(value, places):,.{max(places, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _exponent(text: str) -> str:
    """Shorten ``2.00e+13`` to ``2e13``."""
    mantissa, _, power = text.partition("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}e{int(power)}"
