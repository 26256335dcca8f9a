"""How large the pre-activations are while a model takes its first steps: the coordinate check.

    RMS of every matrix's output on the same windows, after each step, over all layers of a kind

Under muP none of them depends on the width (nor, under CompleteP, on the depth); under sp those
that have been trained grow with it (Yang et al. 2022, appendix on coordinate checking).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from planner.proxies._model import Gpt
from planner.proxies._schedule import learning_rates
from planner.proxies._stepper import Stepper

PROBED = 8
"""Windows the pre-activations are measured on: the first of the trial's data order."""


class _Watch(TorchFunctionMode):
    """Collect the mean square of what ``F.linear`` returns, by the name of its matrix."""

    def __init__(self, model: Gpt) -> None:
        super().__init__()
        self._names = {weight.data_ptr(): name for name, weight in model.weights.items()}
        self._head = model.head.data_ptr()
        self.squares: dict[str, list[float]] = defaultdict(list)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        found = func(*args, **(kwargs or {}))
        if func is F.linear:
            place = args[1].data_ptr()
            kind = "logits" if place == self._head else self._names[place].partition(".")[2]
            self.squares[kind].append(float(found.float().square().mean()))
        return found


def pre_activations(stepper: Stepper) -> dict[str, list[float]]:
    """Train the stepper's trial; return the RMS after each step for each kind of matrix."""
    trial, model = stepper.trial, stepper.model
    rates = learning_rates(trial)
    probe = torch.from_numpy(stepper.batches.at(0, PROBED)).to(model.flat.device)
    found: dict[str, list[float]] = defaultdict(list)
    for step in range(trial.steps):
        stepper.take(step, float(rates[step]))
        for kind, squares in _measured(model, probe).items():
            found[kind].append(math.sqrt(sum(squares) / len(squares)))
    return dict(found)


@torch.inference_mode()
def _measured(model: Gpt, probe: Tensor) -> dict[str, list[float]]:
    watch = _Watch(model)
    with watch:
        model.logits(probe[:, :-1])
    return watch.squares
