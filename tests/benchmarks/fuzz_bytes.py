"""Damage to bytes and to plain data, drawn from a seed."""

from __future__ import annotations

import copy
import random
from typing import Any

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**63, 10**400, -(10**30), 0.0, -0.5, 1e-320, 1e308,
    float("nan"), float("inf"), float("-inf"), "", "nan", "on", "1e999", "x" * 3000, "\x00",
    "../../etc/passwd", "{lr}", "éé", [], {}, [[]], [None], {"": 1}, {"a": {"b": []}},
    ["a", 1, None], "2x", "300M tokens", "-5",
)  # fmt: skip
"""Values of every kind that have no business where they are put."""


def damaged_bytes(draw: random.Random, content: bytes) -> bytes:
    """Return content cut, flipped, overwritten, shuffled, doubled or missing something."""
    content = content or b"0"
    at = draw.randrange(len(content))
    size = min(draw.choice((1, 2, 7, 100, 5000)), len(content))
    part = content[at : at + size]
    lines = content.split(b"\n")
    some, other = draw.randrange(len(lines)), draw.randrange(len(lines))
    swapped = list(lines)
    swapped[some], swapped[other] = swapped[other], swapped[some]
    digit = next((i for i in range(at, len(content)) if content[i : i + 1].isdigit()), at)
    return draw.choice(
        (
            lambda: content[:at],
            lambda: content[at:],
            lambda: (
                content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :]
            ),
            lambda: content[:digit] + b"%d" % draw.randrange(10) + content[digit + 1 :],
            lambda: content[:at] + draw.randbytes(size) + content[at + size :],
            lambda: content[:at] + b"\0" * size + content[at + size :],
            lambda: content[:at] + content[at + size :],
            lambda: content[:at] + part + content[at:],
            lambda: content[:at] + draw.randbytes(size) + content[at:],
            lambda: b"\n".join(lines[:some] + lines[some + 1 :]),
            lambda: b"\n".join(lines[: some + 1] + lines[some:]),
            lambda: b"\n".join(swapped),
            lambda: b"\n".join(lines[:some]) + b"\n",
            lambda: content + b"\0" * size,
            lambda: b"",
        )
    )()


def damaged_value(draw: random.Random, data: Any) -> Any:
    """Return plain data with one value, key or entry somewhere in it changed, gone or doubled."""
    data = copy.deepcopy(data)
    places = list(_places(data))
    if not places:
        return draw.choice(ODD)
    holder, key = draw.choice(places)
    match draw.randrange(6):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[draw.choice(("", "extra", f"{key}x", "__class__", "n"))] = holder.pop(key)
        case 2 if isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        case 3 if isinstance(holder[key], int | float):
            holder[key] = holder[key] * draw.choice((-1, 0, 0.5, 3, 1e6, 1e-6))
        case 4:
            holder[key] = draw.choice((str(holder[key]), [holder[key]], {"value": holder[key]}))
        case _:
            holder[key] = copy.deepcopy(draw.choice(ODD))
    return data


def _places(data: Any) -> Any:
    """Yield every (holder, key or index) of nested dicts and lists."""
    if isinstance(data, dict | list):
        for key in data if isinstance(data, dict) else range(len(data)):
            yield data, key
            yield from _places(data[key])
