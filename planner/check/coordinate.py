"""Whether activations keep their size at every width, and depth, as a parametrisation claims.

    RMS of a layer's output after 6-10 steps  ~  size^slope,      |slope| < .1

measured per kind of layer at the sizes of the study, one axis at a time, under as many seeds as it
takes to tell (4 to 16; a small model's activations are noisy). Under sp trained layers grow with
the width, so lr* falls with it; muP keeps them level in width, CompleteP in width and depth
(Yang et al. 2022, Dey et al. 2025).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import stdtrit

from planner.arrays import Floats
from planner.estimate import LEVEL, Estimate
from planner.finding import Finding, Severity
from planner.proxy import CoordinateProxy
from planner.run import Schedule, Trial

BOUND = 0.1
"""Largest slope of ln RMS in ln size that counts as none (science A5)."""

WRONG = 0.3
"""Slope from which a claim counts as broken: a wrong multiplier shows as a half or a whole power,
while two layers or sixteen channels are merely too small for the limit the claim is about."""

STEPS, JUDGED = 10, 5
"""Steps trained, and how many of the last are averaged: the first ones still show the layers that
start at zero."""

FEWEST_SEEDS, MOST_SEEDS = 4, 16
FEWEST, LEAST_SPAN = 3, 2.0
"""Sizes an axis needs, and how far apart the ends must be, for a slope to mean something."""

CLAIMS = {"mup": ("width",), "completep": ("width", "depth")}
"""The axes along which a parametrisation promises no slope."""

COUNTS = {"width": "widths", "depth": "depths"}


@dataclass(frozen=True, slots=True)
class AxisSlopes:
    """Slopes of ln RMS per kind of layer along one axis."""

    axis: str
    sizes: tuple[int, ...]
    lr: float
    slopes: Mapping[str, Estimate]
    """The interval is Student's over the seeds."""
    seeds: int

    def beyond(self) -> list[str]:
        """Return the kinds whose whole interval lies beyond the bound."""
        return [kind for kind, slope in self.slopes.items() if _inner(slope) > BOUND]

    def unsure(self) -> list[str]:
        """Return the kinds whose interval straddles the bound."""
        outer = {kind: max(abs(s.low), abs(s.high)) for kind, s in self.slopes.items()}
        return [k for k, s in self.slopes.items() if _inner(s) <= BOUND < outer[k]]

    def to_json(self) -> dict[str, Any]:
        """Return the slopes as plain data."""
        slopes = {kind: slope.to_json() for kind, slope in self.slopes.items()}
        told = {"axis": self.axis, "sizes": list(self.sizes), "lr": self.lr, "seeds": self.seeds}
        return told | {"slopes": slopes}


def axis_shapes(shapes: Sequence[Mapping[str, Any]], axis: str) -> list[dict[str, Any]]:
    """Return the first size at every value of one axis; empty when they are too few or too near."""
    values = sorted({int(shape[axis]) for shape in shapes if axis in shape})
    if len(values) < FEWEST or values[-1] < LEAST_SPAN * values[0]:
        return []
    return [{**shapes[0], axis: value} for value in values]


def measure_slopes(
    proxy: CoordinateProxy,
    shapes: Sequence[Mapping[str, Any]],
    axis: str,
    *,
    lr: float,
    batch_tokens: int,
) -> AxisSlopes:
    """Train every shape for ten steps under several seeds; return the slopes along the axis."""
    start = Trial(
        "check", {}, STEPS * batch_tokens, batch_tokens, lr, 0, schedule=Schedule("constant")
    )
    sizes = tuple(int(shape[axis]) for shape in shapes)
    by_kind: dict[str, list[list[float]]] = {}
    found = AxisSlopes(axis, sizes, lr, {}, 0)
    for seed in range(MOST_SEEDS):
        logs = [_log_rms(proxy, replace(start, shape=shape, seed=seed)) for shape in shapes]
        for kind in logs[0]:
            by_kind.setdefault(kind, []).append([log[kind] for log in logs])
        if seed + 1 < FEWEST_SEEDS:
            continue
        slopes = {kind: _slope(np.array(sizes), np.array(rms)) for kind, rms in by_kind.items()}
        found = replace(found, slopes=slopes, seeds=seed + 1)
        if found.beyond() or not found.unsure():
            break
    return found


def coordinate_finding(found: AxisSlopes, parametrization: str) -> Finding:
    """Judge the slopes along one axis by what the parametrisation claims of it."""
    claimed = found.axis in CLAIMS.get(parametrization, ())
    code = f"coordinate-check-{found.axis}"
    first, *_, last = found.sizes
    span = f"{first} to {last}, lr {found.lr:.2g}, {STEPS} steps, {found.seeds} seeds"
    if beyond := found.beyond():
        what = (
            f"Under {parametrization} activations change with the {found.axis} ({span}): "
            f"{_listed(found, beyond)}; a slope beyond {BOUND:g} moves the best learning rate."
        )
        if claimed and any(_inner(found.slopes[kind]) > WRONG for kind in beyond):
            remedy = "correct these layers' multipliers, or plan with `parametrization: sp`"
            return Finding(code, Severity.BLOCKING, what, remedy)
        if claimed:
            remedy = f"check larger {COUNTS[found.axis]}: the smallest may be too small to count"
            return Finding(code, Severity.WARNING, what, remedy)
        remedy = "measure how lr moves (`stages.confirm: on`), or use " + _cure(found.axis)
        return Finding(code, Severity.WARNING, what, remedy)
    if unsure := found.unsure():
        what = (
            f"Whether activations change with the {found.axis} under {parametrization} ({span}) is "
            f"not decided: {_listed(found, unsure)} straddles the bound of {BOUND:g}."
        )
        return Finding(code, Severity.WARNING, what, f"check larger {COUNTS[found.axis]}")
    worst = max(found.slopes, key=lambda kind: abs(found.slopes[kind].value))
    what = (
        f"Under {parametrization} no activation changes with the {found.axis} ({span}); the "
        f"steepest is {_listed(found, [worst])}."
    )
    return Finding(code, Severity.INFO, what)


def unchecked_finding(axis: str) -> Finding:
    """Say that an axis the parametrisation makes claims of could not be checked."""
    what = (
        f"The {axis} could not be checked: `sizes` holds fewer than {FEWEST} {COUNTS[axis]}, or "
        f"they span less than x{LEAST_SPAN:g}."
    )
    remedy = f"check a search space with {FEWEST} {COUNTS[axis]} or more"
    return Finding(f"coordinate-check-{axis}", Severity.WARNING, what, remedy)


def _log_rms(proxy: CoordinateProxy, trial: Trial) -> dict[str, float]:
    """Return the mean of ln RMS over the judged steps, per kind of layer."""
    tiny = np.finfo(float).tiny  # a layer that never wakes up is as far off as can be
    found = proxy.coordinates(trial)
    return {
        kind: float(np.mean(np.log(np.maximum(np.asarray(rms[-JUDGED:]), tiny))))
        for kind, rms in found.items()
    }


def _slope(sizes: Floats, log_rms: Floats) -> Estimate:
    """Return the slope over sizes (n,) of log_rms (seeds, n), with its interval over the seeds."""
    x = np.log(sizes) - np.log(sizes).mean()
    slopes = log_rms @ x / (x @ x)
    reach = float(stdtrit(len(slopes) - 1, (1 + LEVEL) / 2))
    value, half = float(slopes.mean()), reach * float(slopes.std(ddof=1) / np.sqrt(len(slopes)))
    return Estimate(value, value - half, value + half, LEVEL, f"{len(slopes)} seeds, Student's t")


def _inner(slope: Estimate) -> float:
    """Return the smallest |slope| inside the interval."""
    return max(slope.low, -slope.high, 0.0)


def _listed(found: AxisSlopes, kinds: Sequence[str]) -> str:
    def one(kind: str) -> str:
        slope = found.slopes[kind]
        return f"{kind} {slope.value:+.2f} [{slope.low:+.2f}, {slope.high:+.2f}]"

    return ", ".join(map(one, kinds))


def _cure(axis: str) -> str:
    return "`parametrization: completep`" if axis == "depth" else "`parametrization: mup`"
