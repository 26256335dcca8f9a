"""Decides which trials run compiled code, makes it, and keeps it for the next trial.

What is compiled is a pass: the loss of a few windows and its gradient, one graph from the flat
parameters to the flat gradient. A batch is so many equal passes, so one piece of code, of static
shape, serves every trial of one model shape whatever its batch. A process makes it once; inductor's
cache on the disk hands it to the next process. With

    saved = tokens (LAUNCH_SECONDS layers / pass + TOKEN_SECONDS layers width)

a trial is compiled if it saves more than LOAD_SECONDS itself, and more than COLD_SECONDS together
with all trials of the same pass that its study has decided so far: who has trained much of a shape
will train more of it. That follows from the ledger, never from a clock or from what happens to be
cached: every executor decides alike, and a resumed trial runs the same code.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from types import FunctionType
from typing import Any, cast
from zlib import crc32

import torch
from torch import Tensor

from planner.proxies._cache import cache_folder
from planner.proxies._model import Gpt
from planner.proxies._parametrization import Multipliers
from planner.shape import ModelShape

CHOICES = ("auto", "on", "off")

PASS_TOKENS = 512
"""Tokens of a compiled pass, at most: its activations stay in a core's second-level cache. At
width 192 512 tokens a pass are as fast as 4,096 (bench_proxy_speed)."""

LAUNCH_SECONDS, TOKEN_SECONDS = 7e-4, 4e-8
"""What compiling saves: per layer of a pass, and per layer, unit of width and token. Measured on
one core of an EPYC 9004 at (width, layers, tokens a pass) (16, 2, 512), (32, 2, 128), (64, 3, 512),
(192, 2, 512): 4.6, 14, 11 and 16 microseconds a token against 4.6, 14, 12 and 18 of the model."""

COLD_SECONDS = 15.0
"""CPU seconds of the first compilation of a shape on a machine, which the trials of a study must
earn: 13-17, and 8 more for the first shape of all, which makes the headers. A worker that begins
beside it with the same shape writes the C++ too, 8 seconds, and waits for the other's compiler."""

LOAD_SECONDS = 4.0
"""CPU seconds of loading the code in another process, which a trial must earn by itself."""

Pass = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Parameters, gradient to add to (both flat), windows, share of the batch -> share of its loss."""

_log = logging.getLogger(__name__)


def pass_windows(windows: int, context: int, most: int | None = None) -> int:
    """Return how many windows of a batch make up a compiled pass: equal ones, without a rest.

    At most ``most`` tokens pass at a time where that is less than PASS_TOKENS.
    """
    limit = max(1, min(PASS_TOKENS, most or PASS_TOKENS) // context)
    return next(count for count in range(min(limit, windows), 0, -1) if windows % count == 0)


def pays(shape: ModelShape, windows: int, own: int, together: int = 0) -> bool:
    """Say whether compiling passes of so many windows saves a study time.

    ``own`` are the tokens of the trial, ``together`` those of all that share its pass.
    """
    per_pass = windows * shape.context
    saved = shape.layers * (LAUNCH_SECONDS / per_pass + TOKEN_SECONDS * shape.width)
    return own * saved > LOAD_SECONDS and max(own, together) * saved > COLD_SECONDS


class Code:
    """The compiled pass of one shape over ``windows`` windows, made when first called.

    Where it cannot be made (no C++ compiler, mostly) ``broken`` says so, once in the log, and the
    caller trains without.
    """

    def __init__(self, run: Pass, windows: int) -> None:
        self._run, self.windows = run, windows
        self.ready, self.broken = False, False

    def __call__(self, model: Gpt, windows: Tensor) -> Tensor:
        """Leave the mean gradient of ``windows`` in the model; return their mean loss."""
        share = torch.full((), self.windows / len(windows), device=windows.device)
        total = torch.zeros_like(share)
        model.gradient.zero_()
        for part in torch.split(windows, self.windows):
            with nullcontext() if self.ready else _hushed():
                total += self._run(model.flat, model.gradient, part, share)
            self.ready = True
        return total

    def give_up(self, error: Exception) -> None:
        """Remember that there will be no compiled code here, and say why."""
        self.broken = True
        reason = str(error).strip().partition("\n")[0]
        _log.warning("training goes on without compiled code: %s", reason)


def compiled(model: Gpt, *, windows: int, bf16: bool) -> Code:
    """Return the code of a pass of ``windows`` windows, the same for all trials of a shape."""
    return _compiled(model.shape, model.multipliers, str(model.flat.device), windows, bf16)


@lru_cache(maxsize=64)
def _compiled(
    shape: ModelShape, multipliers: Multipliers, device: str, windows: int, bf16: bool
) -> Code:
    template, kind = Gpt(shape, 0, device, multipliers), torch.device(device).type

    def run(flat: Tensor, gradient: Tensor, windows: Tensor, share: Tensor) -> Tensor:
        with torch.autocast(kind, torch.bfloat16, enabled=bf16):
            found, loss = template.mean_gradient(flat, windows)
        gradient.add_(found * share)
        return loss * share

    # Dynamo files what it compiled under the code object and finds it again by guards, a tenth of a
    # millisecond a call: with a code object for every shape there is nothing to guard against.
    name = f"pass_{crc32(repr((shape, multipliers, device, windows, bf16)).encode())}"
    own = FunctionType(
        run.__code__.replace(co_name=name), run.__globals__, name, closure=run.__closure__
    )
    code = torch.compile(own, fullgraph=True, dynamic=False, options=_settings(kind))
    return Code(cast(Pass, code), windows)


@contextmanager
def _hushed() -> Iterator[None]:
    """Say nothing of what torch deprecates and still uses; a failure is told by an exception."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _settings(kind: str) -> dict[str, Any]:
    """Return inductor's settings: no guards, a cache that outlives the process, no helpers of it.

    On a CPU all kernels and what calls them are one C++ file: half the time of compiling each.
    On CUDA a pass is replayed as one graph. That was never executed: no GPU could be had.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "inductor"))
    own = {"triton.cudagraphs": True} if kind == "cuda" else {"cpp_wrapper": True}
    # One thread compiles: the other cores have trials of their own.
    return {"compile_threads": 1, "guard_filter_fn": torch.compiler.skip_all_guards_unsafe, **own}
