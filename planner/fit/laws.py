"""The loss laws: how decayed loss depends on parameters N and tokens D.

    L(N, D) = E + A N^-alpha + B D^-beta                                   (Hoffmann et al. 2022)

``CHINCHILLA`` frees all five, ``CHINCHILLA_TIED`` sets beta = alpha. A law is known to the rest of
the package by its :class:`Law` face alone; numpy only, so that a proxy may plant one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from planner.arrays import Floats
from planner.errors import UsageError


class Law(Protocol):
    """A parametric loss surface. ``theta`` has the parameters of ``names`` on its last axis."""

    @property
    def name(self) -> str:
        """The name a user types."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """Parameter names, in the order of ``theta``."""
        ...

    @property
    def n_free(self) -> int:
        """How many of the parameters the data must determine."""
        ...

    def predict(self, theta: Floats, params: Floats, tokens: Floats) -> Floats:
        """Return losses in nats per token, shape (..., n), for theta (..., P) and points (n,)."""
        ...

    def gradient(self, theta: Floats, params: Floats, tokens: Floats) -> Floats:
        """Return dL/dtheta, shape (..., n, P)."""
        ...


@dataclass(frozen=True)
class PowerSum:
    """E + A N^-alpha + B D^-beta with some parameters shared.

    ``free`` says which free parameter each of (ln E, ln A, ln B, alpha, beta) reads. Held where it
    was published: N 57M-16B, C 1e18-1e22 (Besiroglu et al. 2024); small transformers bend away from
    it below about 4,000 steps.
    """

    name: str
    free: tuple[int, ...]
    names: tuple[str, ...] = ("E", "A", "B", "alpha", "beta")

    @property
    def n_free(self) -> int:
        """How many parameters are free."""
        return max(self.free) + 1

    @property
    def expand(self) -> Floats:
        """The 0/1 matrix (5, n_free) that spreads the free parameters over the five."""
        return np.eye(self.n_free)[list(self.free)]

    def predict(self, theta: Floats, params: Floats, tokens: Floats) -> Floats:
        """Return losses in nats per token, shape (..., n)."""
        size, data = self._terms(theta, params, tokens)
        return theta[..., 0, None] + size + data

    def gradient(self, theta: Floats, params: Floats, tokens: Floats) -> Floats:
        """Return dL/d(E, A, B, alpha, beta), shape (..., n, 5)."""
        size, data = self._terms(theta, params, tokens)
        return np.stack(
            [
                np.ones_like(size),
                size / theta[..., 1, None],
                data / theta[..., 2, None],
                -np.log(params) * size,
                -np.log(tokens) * data,
            ],
            axis=-1,
        )

    def _terms(self, theta: Floats, params: Floats, tokens: Floats) -> tuple[Floats, Floats]:
        _, a, b, alpha, beta = (theta[..., i, None] for i in range(5))
        return a * np.asarray(params, float) ** -alpha, b * np.asarray(tokens, float) ** -beta


CHINCHILLA = PowerSum("chinchilla", (0, 1, 2, 3, 4))
CHINCHILLA_TIED = PowerSum("chinchilla-tied", (0, 1, 2, 3, 3))
LAWS: Mapping[str, PowerSum] = {law.name: law for law in (CHINCHILLA, CHINCHILLA_TIED)}


def law_named(name: str) -> PowerSum:
    """Return the law of a name; UsageError lists the names there are."""
    if name not in LAWS:
        raise UsageError(f"there is no law named {name!r}; known: auto, {', '.join(LAWS)}")
    return LAWS[name]


def optimal_params(theta: Floats, flops: float | Floats) -> Floats:
    """Return N*(C), shape (...), of laws theta (..., 5) where C = 6 N D; D* is C / 6 N*.

    N* = G (C/6)^(beta/(alpha+beta)) with G = (alpha A / beta B)^(1/(alpha+beta)).
    """
    _, a, b, alpha, beta = np.moveaxis(np.asarray(theta, float), -1, 0)
    log_ratio = np.log(alpha) + np.log(a) - np.log(beta) - np.log(b)
    return np.asarray(np.exp((log_ratio + beta * np.log(np.asarray(flops) / 6.0)) / (alpha + beta)))
