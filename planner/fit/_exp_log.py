"""exp and log that a compiled loop runs on whole vectors, and how loops are compiled.

A call to a library's exp stops a loop from being vectorised; a polynomial does not. Both are below
2 ulp, which the solver's promise needs, and both assume what it guarantees: |t| < 700, m normal.
Only this file and _kernel.py may use numba. Compiled code is kept beside the source and made
anew when its own file changes: empty __pycache__ after editing this one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit

AS_WRITTEN, ANY_ORDER = {"contract"}, {"contract", "reassoc", "nsz"}
"""What the compiler may do to a function's sums: fuse a product; also add in any order."""
_MAGIC = 1.5 * 2.0**52
"""Adding it rounds to an integer, which then stands in the lowest bits."""
_MAGIC_BITS = np.float64(_MAGIC).view(np.int64)
_HALF_BITS = np.float64(math.sqrt(0.5)).view(np.int64)
_BIAS, _MANTISSA = np.int64(1023), np.int64(52)
_LN2_HIGH, _LN2_LOW = float.fromhex("0x1.62e42fefa3800p-1"), float.fromhex("0x1.ef35793c76730p-45")
_EXP = tuple(1.0 / math.factorial(k) for k in range(13, 1, -1))
_LOG = tuple(2.0 / (2 * k + 1) for k in range(10, 0, -1))

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(flags: set[str]) -> Callable[[Function], Function]:
    """Compile with a cache on disk, or without one where no folder can be written."""
    # Inlined by force, each entry is one piece of code. Left to the compiler, inner functions are
    # shared, and code from the cache would end in other last bits than code just compiled.
    options: dict[str, Any] = {"error_model": "numpy", "fastmath": flags, "forceinline": True}

    def wrap(function: Function) -> Function:
        try:
            made = njit(cache=True, **options)(function)
        except RuntimeError:
            made = njit(**options)(function)
        return cast(Function, made)

    return wrap


@compiled(AS_WRITTEN)
def exp(t: float) -> float:
    """Return e^t as 2^k e^r with |r| <= ln 2 / 2."""
    shifted = t / math.log(2.0) + _MAGIC
    k = shifted - _MAGIC
    r = (t - k * _LN2_HIGH) - k * _LN2_LOW
    p = 0.0
    for c in _EXP:
        p = p * r + c
    bits = (np.float64(shifted).view(np.int64) + _BIAS) << _MANTISSA
    return (1.0 + (r + r * r * p)) * float(np.int64(bits).view(np.float64))


@compiled(AS_WRITTEN)
def log(m: float) -> float:
    """Return ln m as k ln 2 + 2 artanh s, s = (f - 1)/(f + 1) with f = m / 2^k near one."""
    bits = np.float64(m).view(np.int64)
    power = np.int64((bits - _HALF_BITS) >> _MANTISSA)
    f = np.int64(bits - (power << _MANTISSA)).view(np.float64)
    k = np.int64(power + _MAGIC_BITS).view(np.float64) - _MAGIC
    s = (f - 1.0) / (f + 1.0)
    q = s * s
    p = 0.0
    for c in _LOG:
        p = p * q + c
    return float(k * _LN2_HIGH + (2.0 * s + (s * q * p + k * _LN2_LOW)))
