"""Two image classifiers over one flat buffer: a residual CNN and a vision transformer.

cnn   stem conv 3x3 -> stages of ``depth`` residual blocks (two 3x3 convs, GroupNorm, ReLU), the
      width doubled and the side halved from stage to stage down to 4 pixels, at most four stages
      -> mean -> head
vit   patches -> ``depth`` pre-norm blocks (attention, MLP of 4 x width) -> norm -> mean -> head

Group normalisation, because batch statistics would make the loss depend on the batch beside the
noise that is to be measured. The head begins at zero; residual branches do not: they learned
slower under SGD. What is counted is what is built:

    params = sum of weights,   forward FLOPs = 2 sum weights x positions + 4 T^2 width per attention

times 3 with the backward pass, but 2 for the first layer, whose input needs no gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from planner.errors import SpaceError
from planner.shape import Size

LAST_SIDE, MOST_STAGES = 4, 4
HEAD_DIM = 16
GROUP = 4
"""Channels that are normalised together."""


@dataclass(frozen=True, slots=True)
class ImageShape:
    """A network for square images of ``side`` pixels in ``channels`` and ``classes`` classes."""

    arch: str
    width: int
    depth: int
    side: int
    channels: int
    classes: int
    patch: int = 2

    def __post_init__(self) -> None:
        if min(self.width, self.depth) < 1:
            raise SpaceError(f"impossible shape: width {self.width}, depth {self.depth}")
        if self.arch == "cnn" and self.width % min(self.width, GROUP):
            raise SpaceError(
                f"impossible shape: width {self.width} is no multiple of {GROUP}, the channels "
                f"that are normalised together; try {max(1, round(self.width / GROUP)) * GROUP}"
            )
        if self.arch == "vit" and self.width % HEAD_DIM:
            raise SpaceError(
                f"impossible shape: width {self.width} is no multiple of {HEAD_DIM}, a head's; "
                f"try {max(1, round(self.width / HEAD_DIM)) * HEAD_DIM}"
            )
        if self.arch == "vit" and self.side % self.patch:
            raise SpaceError(
                f"images of {self.side} pixels cannot be cut into patches of {self.patch}; "
                "set the option `patch` to a divisor"
            )

    @property
    def stages(self) -> tuple[tuple[int, int], ...]:
        """Width and side of every stage of the CNN."""
        found, side = [(self.width, self.side)], self.side
        while side // 2 >= LAST_SIDE and len(found) < MOST_STAGES:
            side = (side + 1) // 2
            found.append((2 * found[-1][0], side))
        return tuple(found)

    @property
    def patches(self) -> int:
        """Positions of the ViT."""
        return (self.side // self.patch) ** 2

    @property
    def size(self) -> Size:
        """Exact parameters in three conventions, and FLOPs of training on one image."""
        return _cnn_size(self) if self.arch == "cnn" else _vit_size(self)


def _cnn_size(shape: ImageShape) -> Size:
    stem = 9 * shape.channels * shape.width
    blocks, spent, gains = 0, 0, 2 * shape.width
    before = shape.width
    for width, side in shape.stages:
        for _ in range(shape.depth):
            weights = 9 * width * (before + width) + (before * width if before != width else 0)
            blocks, spent = blocks + weights, spent + weights * side**2
            gains, before = gains + 4 * width, width
    head = before * shape.classes
    flops = 4.0 * stem * shape.side**2 + 6.0 * (spent + head)
    total = stem + blocks + head + gains + shape.classes
    return Size(float(stem + blocks + head), float(blocks + gains), float(total), flops)


def _vit_size(shape: ImageShape) -> Size:
    width, positions = shape.width, shape.patches
    stem = shape.channels * shape.patch**2 * width
    blocks = shape.depth * 12 * width**2
    small = shape.depth * (4 * width + 9 * width) + 2 * width
    head = width * shape.classes
    attention = 12.0 * shape.depth * positions**2 * width
    flops = positions * (4.0 * stem + 6.0 * blocks) + attention + 6.0 * head
    total = stem + width + positions * width + blocks + small + head + shape.classes
    return Size(float(stem + blocks + head), float(blocks + small), float(total), flops)


class ImageModel:
    """A network whose parameters lie in ``flat`` and their gradients in ``gradient``.

    The first ``decayed`` entries are the matrices, which decay; norms, biases and positions follow.
    ``layers`` are the places of the single tensors.
    """

    def __init__(self, shape: ImageShape, seed: int, device: str) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = _Cnn(shape) if shape.arch == "cnn" else _Vit(shape)
        self.net = self.net.to(device)
        parts = sorted(self.net.parameters(), key=lambda p: p.ndim < 2)
        self.flat = torch.cat([part.detach().flatten() for part in parts])
        self.gradient = torch.zeros_like(self.flat)
        self.decayed = sum(part.numel() for part in parts if part.ndim >= 2)
        self.layers: list[slice] = []
        begin = 0
        for part in parts:
            place = slice(begin, begin + part.numel())
            self.layers.append(place)
            part.data = self.flat[place].view(part.shape)
            part.grad = self.gradient[place].view(part.shape)
            begin = place.stop

    def logits(self, images: Tensor) -> Tensor:
        """Return logits (n, classes) of images (n, channels, side, side) from 0 to 1."""
        out: Tensor = self.net(images)
        return out.float()


class _Block(nn.Module):
    """Two 3x3 convolutions round a shortcut."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        stride = 1 if before == width else 2
        self.first = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.before, self.after = _norm(width), _norm(width)
        self.cut = nn.Conv2d(before, width, 1, stride, bias=False) if stride > 1 else nn.Identity()
        _begin(self)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.before(self.first(x)))
        return functional.relu(self.after(self.second(y)) + self.cut(x))


class _Cnn(nn.Module):
    def __init__(self, shape: ImageShape) -> None:
        super().__init__()
        self.stem = nn.Conv2d(shape.channels, shape.width, 3, 1, 1, bias=False)
        self.norm = _norm(shape.width)
        widths = [width for width, _ in shape.stages for _ in range(shape.depth)]
        befores = [shape.width, *widths[:-1]]
        self.blocks = nn.Sequential(*map(_Block, befores, widths))
        self.head = _head(widths[-1], shape.classes)
        _begin(self.stem)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.stem(2 * x - 1)))
        out: Tensor = self.head(self.blocks(x).mean((2, 3)))
        return out


class _Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        _begin(self)

    def forward(self, x: Tensor) -> Tensor:
        count, positions, width = x.shape
        qkv = self.qkv(self.before(x)).view(count, positions, 3, width // HEAD_DIM, HEAD_DIM)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        x = x + self.out(mixed.reshape(count, positions, width))
        out: Tensor = x + self.down(functional.gelu(self.up(self.after(x))))
        return out


class _Vit(nn.Module):
    def __init__(self, shape: ImageShape) -> None:
        super().__init__()
        self.stem = nn.Conv2d(shape.channels, shape.width, shape.patch, shape.patch)
        self.places = nn.Parameter(torch.zeros(shape.patches * shape.width))
        self.blocks = nn.Sequential(*(_Attention(shape.width) for _ in range(shape.depth)))
        self.norm = nn.LayerNorm(shape.width)
        self.head = _head(shape.width, shape.classes)
        _begin(self.stem)
        nn.init.normal_(self.places, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(2 * x - 1).flatten(2).transpose(1, 2)
        x = self.blocks(x + self.places.view(1, x.shape[1], x.shape[2]))
        out: Tensor = self.head(self.norm(x).mean(1))
        return out


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(max(1, width // GROUP), width)


def _head(width: int, classes: int) -> nn.Linear:
    head = nn.Linear(width, classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def _begin(part: nn.Module) -> None:
    """Draw weights of variance 2 / inputs before a ReLU, 1 / inputs elsewhere."""
    for module in part.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
