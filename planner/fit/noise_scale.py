"""Gradient noise scale from the squared norms of small- and large-batch gradients.

    |G|^2 = (b2 g2 - b1 g1) / (b2 - b1),  tr S = (g1 - g2) / (1/b1 - 1/b2),  B_noise = tr S / |G|^2

g1, g2 are the mean squared norms over b1 < b2 examples at the same parameters, before clipping
(McCandlish 2018). Numerator and denominator are unbiased, their ratio is not: both are averaged
over steps first and divided last. Steps are autocorrelated, so the interval is that of a block
bootstrap, blocks as long as the series remembers. Where |G|^2 may be zero there is no ratio: the
scale is not identified, and said so. It is a witness beside the batch law, never its judge:
branches trained at other batches disagree with it (Merrill 2025).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.arrays import Floats
from planner.estimate import LEVEL, Estimate
from planner.finding import Finding, Severity

DRAWS = 2000
FEWEST_BLOCKS = 10
"""Blocks the steps must make: fewer say nothing of their own spread."""

WINDOW = 5.0
"""Lags summed for the memory of the series, in units of that memory (Sokal's rule)."""

FAR = 4.0
"""Factor between noise scale and best batch beyond which, intervals apart, they contradict."""


@dataclass(frozen=True)
class GradientNorms:
    """Squared gradient norms (n,) per step, over ``small`` and ``big`` examples."""

    small_squared: Floats
    big_squared: Floats
    small: float
    big: float
    tokens_per_example: float
    """Sequence length: the noise is that of whole sequences, tokens of one are correlated."""

    def __post_init__(self) -> None:
        if not 0 < self.small < self.big:
            raise ValueError(
                f"the small batch ({self.small:g} examples) must be smaller than the big one "
                f"({self.big:g}); take one micro-batch beside the whole step"
            )
        if self.small_squared.shape != self.big_squared.shape or self.small_squared.ndim != 1:
            raise ValueError("small and big squared norms must be two series of the same steps")
        if not (np.isfinite(self.small_squared) & np.isfinite(self.big_squared)).all():
            raise ValueError("squared norms must be finite; leave out steps that overflowed")

    @property
    def signal(self) -> Floats:
        """Return the unbiased estimate of |G|^2 of every step."""
        gap = self.big * self.big_squared - self.small * self.small_squared
        return np.asarray(gap / (self.big - self.small), dtype=np.float64)

    @property
    def noise(self) -> Floats:
        """Return the unbiased estimate of the trace of one example's covariance, every step."""
        gap = self.small_squared - self.big_squared
        return np.asarray(gap / (1 / self.small - 1 / self.big), dtype=np.float64)


@dataclass(frozen=True)
class NoiseScale:
    """B_noise in tokens, or None with the reason."""

    tokens: Estimate | None
    signal: Estimate
    """|G|^2."""
    noise: Estimate
    """Trace of the covariance of one example's gradient."""
    steps: int
    block: int
    """Steps per bootstrap block."""
    finding: Finding | None


def noise_scale(norms: GradientNorms, *, level: float = LEVEL, seed: int = 0) -> NoiseScale:
    """Return the noise scale in tokens with its block-bootstrap interval.

    Raises ValueError where the steps make fewer than FEWEST_BLOCKS blocks.
    """
    signal, noise, steps = norms.signal, norms.noise, len(norms.small_squared)
    block = max(memory(signal), memory(noise))
    if steps < FEWEST_BLOCKS * block:
        raise ValueError(
            f"{steps} steps are {steps // block} independent stretches of the gradient; "
            f"measure at least {FEWEST_BLOCKS * block} steps"
        )
    picked = _blocks(steps, block, seed)
    means = np.stack([signal[picked].mean(1), noise[picked].mean(1)])
    centre = signal.mean(), noise.mean()
    method = f"mean over {steps} steps, bootstrap over blocks of {block}"
    of_signal, of_noise = (
        Estimate.from_draws(draws, level=level, method=method, value=float(value))
        for draws, value in zip(means, centre, strict=True)
    )
    if of_signal.low <= 0 or of_noise.low <= 0:
        return NoiseScale(None, of_signal, of_noise, steps, block, _unidentified(norms, of_signal))
    smallest = means[0][means[0] > 0].min()  # a draw without signal: a scale beyond all others
    scale = norms.tokens_per_example * means[1] / np.maximum(means[0], smallest)
    value = norms.tokens_per_example * float(centre[1] / centre[0])
    tokens = Estimate.from_draws(scale, level=level, method=method, value=value)
    return NoiseScale(tokens, of_signal, of_noise, steps, block, None)


def memory(series: Floats) -> int:
    """Return the integrated autocorrelation time of a series (n,), in whole steps, at least 1."""
    centred = series - series.mean()
    padded = np.fft.rfft(centred, 2 * len(series))
    correlation = np.fft.irfft(np.abs(padded) ** 2)[: len(series)]
    if correlation[0] <= 0:
        return 1
    times = 2 * np.cumsum(correlation / correlation[0]) - 1
    wide_enough = np.arange(len(series)) >= WINDOW * times
    window = int(np.argmax(wide_enough)) if wide_enough.any() else len(series) - 1
    return max(1, int(np.ceil(times[window])))


def _blocks(steps: int, block: int, seed: int) -> np.ndarray:
    """Return indices (DRAWS, about steps) of circular blocks with random starts."""
    rng = np.random.default_rng(seed)
    starts = rng.integers(steps, size=(DRAWS, -(-steps // block), 1))
    return ((starts + np.arange(block)) % steps).reshape(DRAWS, -1)


def _unidentified(norms: GradientNorms, signal: Estimate) -> Finding:
    subject = "The true gradient" if signal.low <= 0 else "The noise of the gradient"
    remedy = (
        f"enlarge the big batch beyond {norms.big:g} examples"
        if signal.low <= 0
        else f"shrink the small batch below {norms.small:g} examples"
    )
    what = (
        f"{subject} cannot be told from zero over {len(norms.small_squared)} steps: the gradient "
        "noise scale is not identified."
    )
    return Finding(
        "noise-scale-unidentified", Severity.INFO, what, f"{remedy}, or average more steps"
    )


def noise_scale_against(noise: NoiseScale, best_batch: Estimate) -> Finding | None:
    """Compare with the fitted best batch (tokens, same place); None where they do not contradict.

    They do when FAR apart with intervals that do not meet.
    """
    if noise.tokens is None:
        return noise.finding
    scale = noise.tokens
    apart = max(scale.value / best_batch.value, best_batch.value / scale.value)
    meet = scale.low <= best_batch.high and best_batch.low <= scale.high
    if apart <= FAR or meet:
        return None
    side = "above" if scale.value > best_batch.value else "below"
    what = (
        f"The gradient noise scale, {scale.value:.3g} tokens, lies a factor {apart:.2g} {side} the "
        f"fitted best batch, {best_batch.value:.3g}; it is an indicator only."
    )
    factor = "double" if side == "above" else "half"
    remedy = f"sweep the learning rate at {factor} the best batch, and believe the losses"
    return Finding("noise-scale-disagrees", Severity.WARNING, what, remedy)
