"""What a device can do and what it costs to rent: a dated table, looked up by alias.

Peaks are dense bf16 (the sparse figure of a vendor's sheet is twice that). Rental prices differ by
a factor 2.5 to 3.8 between sellers, so a price is a band with a date, never a constant.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files

from planner.errors import UsageError
from planner.estimate import Estimate

ONE_SELLER_BAND = 2.5**0.5
"""Factor either way round the quote of a single seller: half of the spread seen between sellers."""


@dataclass(frozen=True, slots=True)
class Device:
    """One accelerator: peak in dense bf16 FLOP/s, memory in GB, rental price in USD per hour."""

    alias: str
    name: str
    peak_flops: float
    memory_gb: float
    price: Estimate | None
    price_source: str


def device(alias: str) -> Device:
    """Return the device of an alias such as ``h100``. Raises UsageError with the nearest names."""
    known = devices()
    name = alias.strip().lower().replace("_", "-").replace(" ", "-")
    if name not in known:
        near = get_close_matches(name, known, n=3) or list(known)
        raise UsageError(
            f"there is no device {alias!r} in the table; did you mean {', '.join(near)}? For "
            "another device, give --flops and work out hours and money from its measured throughput"
        )
    return known[name]


@cache
def devices() -> Mapping[str, Device]:
    """Return the packaged table by alias."""
    text = files("planner.plan").joinpath("devices.csv").read_text(encoding="utf-8")
    return {row["alias"]: _read(row) for row in csv.DictReader(text.splitlines())}


def _read(row: Mapping[str, str]) -> Device:
    price, source = None, ""
    if row["price_low_usd_per_h"]:
        low, high = float(row["price_low_usd_per_h"]), float(row["price_high_usd_per_h"])
        if low == high:
            low, high = low / ONE_SELLER_BAND, high * ONE_SELLER_BAND
        source = f"assumed from the packaged table, {row['price_date']} ({row['source']})"
        price = Estimate((low * high) ** 0.5, low, high, method=source)
    return Device(
        alias=row["alias"],
        name=row["name"],
        peak_flops=1e12 * float(row["peak_bf16_dense_tflops"]),
        memory_gb=float(row["memory_gb"]),
        price=price,
        price_source=source,
    )
