"""Which trials of a round are trained together, as one batched model in one call of the proxy.

    calls of one stack key = ceil(trials / most),  filled evenly
    most                   = min(what the proxy says is worth it, ceil(trials of the round / slots))

so that no slot stands idle for the sake of a larger stack. Only first attempts are stacked. What
comes of a trial does not depend on its stack (:class:`planner.proxy.StackingProxy`), so none of
this steers a sweep.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import cast

from planner.proxy import Proxy, StackingProxy
from planner.run import Trial

TAKE_STACKS = frozenset({"inline", "local", "ray"})
"""The executors that train a stack; the others hand one trial to each of their jobs."""


def calls_of(
    trials: Mapping[str, Trial], devices: Mapping[str, str], proxy: Proxy, slots: int
) -> list[list[str]]:
    """Return the keys of ``trials`` call by call; ``devices`` is where each would train.

    A trial that ``devices`` does not name goes alone.
    """
    stackable = devices if "train_many" in proxy.capabilities else ()
    alone, named = [], dict[tuple[str, str], list[str]]()
    for key, trial in trials.items():
        name = (
            cast(StackingProxy, proxy).stack_key(trial, devices[key]) if key in stackable else None
        )
        if name is None:
            alone.append([key])
        else:
            named.setdefault((name, devices[key]), []).append(key)
    most = math.ceil(len(trials) / slots)
    return alone + [
        call
        for (_, device), keys in named.items()
        for call in _dealt(keys, _size(keys, trials, device, cast(StackingProxy, proxy), most))
    ]


def _size(
    keys: Collection[str],
    trials: Mapping[str, Trial],
    device: str,
    proxy: StackingProxy,
    most: int,
) -> int:
    """Return how many of the trials one call may take."""
    worth = min(proxy.stack_size(trials[key], device) for key in keys)
    return max(1, min(worth, most))


def _dealt(keys: list[str], size: int) -> list[list[str]]:
    calls = math.ceil(len(keys) / size)
    return [keys[place::calls] for place in range(calls)]
