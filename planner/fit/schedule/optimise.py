"""Which cooldown ends lowest, and what a loss would have been under another schedule.

The family: warmup, constant, then a cooldown over the last ``fraction`` of the run,

    eta / peak = r + (1 - r) (1 - x^p),   x in [0, 1] the share of the cooldown that lies behind

p = 1 is linear, p = 1/2 the 1-sqrt of Haegele et al. 2024, r the final ratio. Each point of a grid
of (fraction, p, r) is predicted by every draw of the fit: the best by the mean is the answer, the
best of each draw its interval. What a law gets wrong about one schedule it gets wrong about a like
one too, so the error of a difference is the error of a loss, sqrt(2) of it, times the share of the
peak by which the two differ: over the whole run or over its last tenth, whichever is more.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np

from planner.arrays import Floats
from planner.estimate import LEVEL, Estimate
from planner.fit.schedule.fit import ScheduleFit
from planner.fit.schedule.path import Path, Seen

FRACTIONS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
SHAPES = (0.25, 0.35, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0)
RATIOS = (0.0, 0.02, 0.05, 0.1, 0.2)
REACH = 3.0
"""Horizons beyond the longest run at which predictions were checked (24k to 72k steps)."""
STEADY, COOLING = 24, 104
"""Blocks of the constant part, finer towards its end, and of the cooldown."""
LATE = 0.9
METHOD = "draws of the laws, and their error on held-out curves"


@dataclass(frozen=True)
class Cooldown:
    """The last ``fraction`` of a run, its ``shape`` exponent and the ``final_ratio``."""

    fraction: float
    shape: float
    final_ratio: float

    def path(self, time: float, peak: float, lead: float) -> Path:
        """Return the path of a run of ``time`` whose warmup is linear with area ``lead``."""
        begin = min(2.0 * lead / peak, 0.5 * time)
        start = max(begin, (1.0 - self.fraction) * time)
        steady = start - (start - begin) * np.geomspace(1.0, 1e-3, STEADY)
        at = np.concatenate([steady, np.linspace(start, time, COOLING + 1)])
        behind = (np.arange(COOLING) + 0.5) / COOLING
        lr = self.final_ratio + (1.0 - self.final_ratio) * (1.0 - behind**self.shape)
        return Path(at, peak * np.concatenate([np.ones(STEADY), lr]), lead)


USUAL = Cooldown(0.2, 0.5, 0.0)
"""What every proxy is trained with: 1-sqrt to zero over the last fifth."""


@dataclass(frozen=True)
class BestSchedule:
    """The recommended cooldown; the fit's optimum with intervals; its gain over the default, nats.

    On a ``tie``, a gain whose interval holds zero, the default is recommended. ``time`` is the
    horizon it was judged at, at most REACH times the longest run.
    """

    recommended: Cooldown
    fraction: Estimate
    shape: Estimate
    final_ratio: Estimate
    gain: Estimate
    tie: bool
    time: float
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Return the answer as plain data."""
        return asdict(self)


def best_schedule(
    fit: ScheduleFit, tokens: float, default: Cooldown = USUAL, *, level: float = LEVEL
) -> BestSchedule:
    """Return the cooldown with the lowest predicted final loss of a run of ``tokens``.

    ``tokens`` is in the fit's unit. Laws hold for the size, peak learning rate and batch they were
    fitted at: the answer carries over as a shape, not as a loss.
    """
    time = min(float(tokens), REACH * fit.span)
    family = [*(Cooldown(*one) for one in product(FRACTIONS, SHAPES, RATIOS)), default]
    lead = fit.warmup / (fit.span * fit.peak)
    paths = [cooldown.path(time / fit.span, 1.0, lead) for cooldown in family]
    seen = Seen.ends(paths)
    losses, drawn = fit.mean(seen), fit.spread(seen, misfit=False)
    best = int(np.argmin(losses))
    chosen = [family[i] for i in drawn.argmin(axis=1)]
    gains = drawn[:, -1] - drawn[:, best]
    gains = gains + _misfit(fit, paths[-1], paths[best], len(gains)) * losses[-1]

    def around(name: str) -> Estimate:
        found = np.array([getattr(one, name) for one in chosen])
        value = float(getattr(family[best], name))
        return Estimate.from_draws(found, level=level, method=METHOD, value=value)

    value = float(losses[-1] - losses[best])
    gain = Estimate.from_draws(gains, level=level, method=METHOD, value=value)
    tie = bool(gain.low <= 0)
    return BestSchedule(
        default if tie else family[best],
        around("fraction"),
        around("shape"),
        around("final_ratio"),
        gain,
        tie,
        time,
        _reason(fit, family[best], gain, (time, float(tokens)), default),
    )


def corrected(
    fit: ScheduleFit, loss: float, trained: Path, wanted: Path, *, level: float = LEVEL
) -> Estimate:
    """Return what a run that ended ``trained`` at ``loss`` would have ended ``wanted`` at.

    Both paths are of the fit's size, peak learning rate and batch; the interval is what the
    correction adds to the doubt.
    """
    units = fit.span, fit.peak
    ends = [Seen.ends([path.scaled(*units)]) for path in (trained, wanted)]
    before, after = (fit.spread(end, misfit=False)[:, 0] for end in ends)
    shift = float(fit.mean(ends[1])[0] - fit.mean(ends[0])[0])
    draws = after - before + _misfit(fit, trained, wanted, len(before)) * loss
    return Estimate.from_draws(loss + draws, level=level, method=METHOD, value=loss + shift)


def _misfit(fit: ScheduleFit, one: Path, other: Path, count: int) -> Floats:
    """Return draws (count,) of the relative error of a difference between two schedules."""
    share = np.linspace(0.0, 1.0, 513)[1:]
    rates = [path.rate_at(path.at[0] + share * (path.at[-1] - path.at[0])) for path in (one, other)]
    gap = np.abs(rates[0] - rates[1]) / max(one.peak, other.peak)
    apart = float(max(gap.mean(), gap[share > LATE].mean()))
    error = sum(member.weight * fit.error(member) for member in fit.members)
    scale = float(np.sqrt(2.0) * error * apart)
    return scale * np.random.default_rng(1).standard_normal(count)


def _reason(
    fit: ScheduleFit, best: Cooldown, gain: Estimate, times: tuple[float, float], default: Cooldown
) -> str:
    """Say in sentences what was found and how far it holds."""
    found = (
        f"a cooldown over the last {best.fraction:.0%} (shape {best.shape:g}, to "
        f"{best.final_ratio:.0%} of the peak)"
    )
    told = (
        f"{found} would gain {gain.value:.2g} nats [{gain.low:.2g}, {gain.high:.2g}] over the "
        f"last {default.fraction:.0%} (shape {default.shape:g}, to {default.final_ratio:.0%})"
    )
    parts = [f"A tie: {told}; the default stays." if gain.low <= 0 else f"A gain: {told}."]
    if times[1] > times[0]:
        parts.append(
            f"Judged at {times[0]:.3g} {fit.unit}, {REACH:g} times the longest curve: beyond, the "
            "laws were not checked."
        )
    if best.final_ratio < 0.5 * fit.lowest:
        parts.append(f"No curve went below {fit.lowest:.0%} of its peak.")
    parts.append("Laws hold for one size, peak learning rate and batch: read it as a shape.")
    return " ".join(parts)
