"""Whether a proxy has the form of one: its methods, what it says it can, its size and its recipe.

size      finite, the same twice, FLOPs/token >= 5 params_matmul
recipe    plain data, the same from every instance
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from difflib import get_close_matches

from planner.check.stage import Stage, blocking, warning
from planner.errors import PlannerError
from planner.finding import Finding
from planner.proxy import Proxy
from planner.shape import Size

LEAST_FLOPS = 5.0
"""FLOPs per token and matrix parameter: forward and backward take six (contracts section 1)."""


METHODS = {"size": "(shape)", "recipe": "()", "train": "(trial, ctx)"}

CAPABILITIES: dict[str, tuple[str, ...]] = {
    "fork": (),
    "resume": (),
    "finder": (),
    "noise_scale": (),
    "distributed": (),
    "coordinates": ("coordinates",),
    "train_many": ("stack_key", "stack_size", "train_many"),
    "compiles": ("compiles",),
    "subset": (),
}
"""What may be declared, and the methods it needs."""


def form(stage: Stage) -> Iterator[Finding]:
    """Yield what is wrong with the proxy before it trains anything."""
    proxy = stage.proxy
    for name, takes in METHODS.items():
        if not callable(getattr(proxy, name, None)):
            yield blocking("form", f"The proxy has no method `{name}`.", f"write {name}{takes}")
            return
    if not (declared := list(_capabilities(proxy))):
        yield from _size(stage)
        yield from _recipe(stage)
    yield from declared


def _capabilities(proxy: Proxy) -> Iterator[Finding]:
    declared = getattr(proxy, "capabilities", None)
    if not isinstance(declared, frozenset | set):
        yield blocking(
            "form",
            f"`capabilities` is {declared!r:.60}, no set of names.",
            "write capabilities = frozenset(), or name in it what the proxy can: "
            f"{', '.join(CAPABILITIES)}",
        )
        return
    for name in sorted(map(str, declared)):
        if name not in CAPABILITIES:
            near = get_close_matches(name, CAPABILITIES, n=1)
            yield blocking(
                "form",
                f"The proxy declares `{name}`, which is no capability.",
                f"did you mean `{near[0]}`?" if near else f"known: {', '.join(CAPABILITIES)}",
            )
        for method in CAPABILITIES.get(name, ()):
            if not callable(getattr(proxy, method, None)):
                yield blocking(
                    "form", f"The proxy declares `{name}`, but has no method `{method}`."
                )


def _size(stage: Stage) -> Iterator[Finding]:
    try:
        size = stage.proxy.size(stage.shape)
    except PlannerError:
        raise
    except Exception as error:
        yield blocking(
            "size",
            f"size({dict(stage.shape)}) raised {error!r:.300}.",
            "check it on a search space with your own `sizes`, or raise SpaceError with what a "
            "size must state",
        )
        return
    if not isinstance(size, Size):
        yield blocking("size", f"size() returned {size!r:.80}, no planner.shape.Size.")
        return
    values = [size.params_matmul, size.params_non_embedding, size.params_total]
    if not all(math.isfinite(v) and v > 0 for v in (*values, size.flops_per_token)):
        yield blocking("size", f"size() returns {size}: every figure must be positive and finite.")
    elif stage.make().size(stage.shape) != size:
        yield blocking("size", "size() of one shape differs from call to call.")
    elif size.flops_per_token < LEAST_FLOPS * size.params_matmul:
        yield warning(
            "flops",
            f"size() states {size.flops_per_token:.3g} FLOPs per token for "
            f"{size.params_matmul:.3g} matrix parameters: a training step takes about 6 a "
            "parameter and token.",
            "count forward and backward; for a mixture of experts state the active parameters",
        )


def _recipe(stage: Stage) -> Iterator[Finding]:
    try:
        recipe, again = stage.proxy.recipe(), stage.make().recipe()
    except PlannerError:
        raise
    except Exception as error:
        yield blocking("recipe", f"recipe() raised {error!r:.300}.")
        return
    try:
        text = json.dumps(recipe, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        yield blocking("recipe", f"recipe() is not plain data ({error}).", "return JSON types")
        return
    if text != json.dumps(again, sort_keys=True):
        yield blocking(
            "recipe",
            "recipe() differs between two instances, so no finished trial would be known again.",
            "leave times, paths of this process and unseeded hashes out of it",
        )
