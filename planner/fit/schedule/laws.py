"""Laws of the loss under any schedule of the learning rate eta, after the warmup.

    L(t) = E + A (S + w lead)^-alpha - B R(t),     S = sum of eta^q dt  (q = 1 but for sublinear)

S is the progress made, lead the area of the warmup and w the share of it that counts; R is the
relief, what a lower learning rate has brought:

    tissue     R = sum_k drop_k (1 - exp(-since_k / tau))
    mpl        R = sum_k drop_k (1 - (1 + c area_k / lr_k^gamma)^-beta)
    fsl        R = -sum_k lr_k^2 dt_k (1 + c area_k)^-beta           (noise not yet forgotten)
    sublinear  tissue with S = sum of eta^q dt, q fitted

Tissue et al. 2024 (arXiv 2408.11029, lambda^steps is exp(-since/tau)); multi-power law, Luo et al.
2025 (arXiv 2503.12811); functional scaling law, Li et al. 2025 (form as understood from its
abstract). Sublinear is our own: late in a decay runs progress faster than their learning rate says.

Laws hold for one size, peak learning rate and batch; only their exponents transfer. Times are in
units of the longest run, learning rates of the peak, losses of the lowest, so that one set of
bounds serves all.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Protocol

import numpy as np

from planner.arrays import Floats
from planner.fit.schedule.path import Seen

COMMON = ("E", "A", "alpha", "w", "B")
LOWEST_LR = 1e-4
"""Of the peak: below, mpl's lr^-gamma would see a run stand still."""

Value = tuple[Floats, Floats]


class Law(Protocol):
    """A relief and a progress with shape parameters m, ``names``, within ``box`` (2, m).

    Both return values (n,) and slopes (n, m) at shape parameters (m,). ``grid`` (G, m) holds starts
    for them. Those in ``logs`` are free as logarithms and told as themselves.
    """

    name: str
    names: tuple[str, ...]
    logs: tuple[bool, ...]
    box: Floats
    grid: Floats

    def relief(self, shape: Floats, seen: Seen) -> Value:
        """Return R, per unit of B."""

    def progress(self, shape: Floats, seen: Seen) -> Value:
        """Return S."""


def _grid(*axes: Sequence[float]) -> Floats:
    """Return every combination of the axes, a row each."""
    return np.array(list(product(*axes)), dtype=np.float64)


class Linear:
    """Progress is the area under the learning rate."""

    def progress(self, shape: Floats, seen: Seen) -> Value:
        """Return S, which has no parameter."""
        return (seen.lr * seen.spent).sum(axis=1), np.zeros((len(seen), len(shape)))


class Tissue(Linear):
    """Relief comes exponentially, in time: one parameter, and no local minima met."""

    name: str = "tissue"
    names: tuple[str, ...] = ("tau",)
    logs: tuple[bool, ...] = (True,)
    box: Floats = np.log([[1e-4], [1.0]])
    grid: Floats = np.log(_grid((0.003, 0.01, 0.03, 0.1)))

    def relief(self, shape: Floats, seen: Seen) -> Value:
        """Return R and its slope in ln tau."""
        x = seen.since / np.exp(shape[0])
        left = np.exp(-x)
        slope = np.zeros((len(seen), len(shape)))
        slope[:, 0] = -(seen.drop * x * left).sum(axis=1)
        return (seen.drop * (1.0 - left)).sum(axis=1), slope


class Sublinear(Tissue):
    """Tissue's relief, with progress by a power of the learning rate."""

    name = "sublinear"
    names: tuple[str, ...] = ("tau", "q")
    logs: tuple[bool, ...] = (True, False)
    box: Floats = np.array([[np.log(1e-4), 0.2], [0.0, 1.2]])
    grid: Floats = _grid(tuple(np.log([0.003, 0.01, 0.03, 0.1])), (0.5, 0.8))

    def progress(self, shape: Floats, seen: Seen) -> Value:
        """Return S and its slope in q."""
        log_lr = np.log(np.maximum(seen.lr, 1e-12))
        done = np.exp(shape[1] * log_lr) * seen.spent
        slope = np.stack([np.zeros(len(seen)), (done * log_lr).sum(axis=1)], axis=1)
        return done.sum(axis=1), slope


class MultiPower(Linear):
    """Relief comes as a power of the area since a drop, faster the lower it fell.

    The box of beta and gamma is where published fits lie (.58-.60 and .64-.66 at 25M and 100M);
    outside it fits run into degenerate corners.
    """

    name = "mpl"
    names: tuple[str, ...] = ("c", "beta", "gamma")
    logs: tuple[bool, ...] = (True, False, False)
    box: Floats = np.array([[np.log(1e-2), 0.3, 0.3], [np.log(1e6), 1.0, 1.0]])
    grid: Floats = _grid(tuple(np.log([10.0, 100.0, 1000.0])), (0.6,), (0.6, 0.9))

    def relief(self, shape: Floats, seen: Seen) -> Value:
        """Return R and its slopes in ln c, beta and gamma."""
        log_lr = np.log(np.maximum(seen.lr, LOWEST_LR))
        x = seen.area * np.exp(shape[0] - shape[2] * log_lr)
        log_x = np.log1p(x)
        left = seen.drop * np.exp(-shape[1] * log_x)
        grown = shape[1] * left * x / (1.0 + x)
        slopes = (grown.sum(axis=1), (left * log_x).sum(axis=1), -(grown * log_lr).sum(axis=1))
        return (seen.drop - left).sum(axis=1), np.stack(slopes, axis=1)


class Forgetting(Linear):
    """Relief is gradient noise forgotten: a power of the area since each step was taken."""

    name = "fsl"
    names: tuple[str, ...] = ("c", "beta")
    logs: tuple[bool, ...] = (True, False)
    box: Floats = np.array([[np.log(1e-1), 0.1], [np.log(1e6), 3.0]])
    grid: Floats = _grid(tuple(np.log([10.0, 100.0, 1000.0])), (0.6, 1.5))

    def relief(self, shape: Floats, seen: Seen) -> Value:
        """Return R and its slopes in ln c and beta."""
        noise = seen.lr**2 * seen.spent
        x = np.exp(shape[0]) * (seen.area - 0.5 * seen.lr * seen.spent)
        log_x = np.log1p(x)
        left = noise * np.exp(-shape[1] * log_x)
        slopes = (shape[1] * left * x / (1.0 + x), left * log_x)
        return -left.sum(axis=1), np.stack([s.sum(axis=1) for s in slopes], axis=1)


TISSUE = Tissue()
LAWS: tuple[Law, ...] = (TISSUE, MultiPower(), Forgetting(), Sublinear())


def evaluate(law: Law, theta: Floats, seen: Seen) -> Value:
    """Return ln L (n,) and its slopes (n, P) in theta = (E, ln A, alpha, w, ln B, *shape)."""
    shape = theta[len(COMMON) :]
    relief, relief_slopes = law.relief(shape, seen)
    progress, progress_slopes = law.progress(shape, seen)
    reached = progress + theta[3] * seen.lead[:, 0]
    log_reached = np.log(reached)
    left = np.exp(theta[1] - theta[2] * log_reached)
    by_progress = -theta[2] * left / reached
    gain = np.exp(theta[4])
    loss = theta[0] + left - gain * relief
    slopes = np.column_stack(
        [
            np.ones_like(left),
            left,
            -left * log_reached,
            by_progress * seen.lead[:, 0],
            -gain * relief,
            by_progress[:, None] * progress_slopes - gain * relief_slopes,
        ]
    )
    sound = np.maximum(loss, 1e-3)
    return np.log(sound), np.where((loss > 1e-3)[:, None], slopes, 0.0) / sound[:, None]
