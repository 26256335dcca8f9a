"""The optimizers of the image proxy over a model's flat buffer.

    sgd     g += l2 w,  v = m v + g,  w -= lr (g + m v)     Nesterov; m is the trial's beta1
    adamw   Adam's moments, w -= lr decay w beside them
    lamb    Adam's direction u plus decay w, per layer times |w| / |u|      (You et al. 2020)

``decay`` is the trial's, set by a rule for how long AdamW averages. The rule is none for SGD, whose
steps shrink with the gradient while its decay would not: sgd keeps a usual constant ``l2``. Only
matrices decay and are rescaled, no norms, biases or positions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from planner.proxies._image_model import ImageModel
from planner.run import Trial

OPTIMIZERS = ("sgd", "adamw", "lamb")
ADAM_EPS, LAMB_EPS = 1e-8, 1e-6

SGD_L2 = 5e-4
"""Usual for residual networks on small images (He et al. 2016: 1e-4; later practice 5e-4)."""


def make_optimizer(name: str, model: ImageModel, trial: Trial) -> torch.optim.Optimizer:
    """Return the optimizer of a name with two groups: what decays, and what does not."""
    groups = []
    for place, decay in (
        (slice(0, model.decayed), trial.weight_decay),
        (slice(model.decayed, None), 0.0),
    ):
        weights = model.flat[place]
        weights.grad = model.gradient[place]
        groups.append({"params": [weights], "weight_decay": decay})
    betas = (trial.beta1, trial.beta2)
    if name == "adamw":
        return torch.optim.AdamW(groups, trial.lr, betas, ADAM_EPS, fused=True)
    if name == "lamb":
        return Lamb(groups, trial.lr, betas, [p for p in model.layers if p.stop <= model.decayed])
    groups[0]["weight_decay"] = SGD_L2
    return torch.optim.SGD(groups, trial.lr, momentum=trial.beta1, nesterov=True)


class Lamb(torch.optim.Optimizer):
    """LAMB: Adam's step, in every layer as long as the layer's weights are, times lr."""

    def __init__(
        self,
        groups: list[dict[str, object]],
        lr: float,
        betas: tuple[float, float],
        layers: Sequence[slice],
    ) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "weight_decay": 0.0})
        self._layers = layers

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step."""
        matrices, rest = self.param_groups
        for group in (matrices, rest):
            (weights,) = group["params"]
            update = self._direction(weights, group["betas"]) + group["weight_decay"] * weights
            if group is matrices:
                self._rescale(weights, update)
            weights.sub_(update, alpha=group["lr"])

    def _direction(self, weights: Tensor, betas: tuple[float, float]) -> Tensor:
        state, (b1, b2) = self.state[weights], betas
        if not state:
            state |= {"step": 0, "m": torch.zeros_like(weights), "v": torch.zeros_like(weights)}
        state["step"] += 1
        state["m"].lerp_(weights.grad, 1 - b1)
        state["v"].mul_(b2).addcmul_(weights.grad, weights.grad, value=1 - b2)
        root = (state["v"] / (1 - b2 ** state["step"])).sqrt_().add_(LAMB_EPS)
        direction: Tensor = state["m"] / (1 - b1 ** state["step"]) / root
        return direction

    def _rescale(self, weights: Tensor, update: Tensor) -> None:
        own = torch.stack(torch._foreach_norm([weights[layer] for layer in self._layers]))
        step = torch.stack(torch._foreach_norm([update[layer] for layer in self._layers]))
        trust = torch.where((own > 0) & (step > 0), own / step, 1.0)
        torch._foreach_mul_([update[layer] for layer in self._layers], list(trust.unbind()))
