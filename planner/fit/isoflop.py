"""IsoFLOP profiles (Approach 2): the best size at every level of compute, and where that leads.

Runs within .35 of ln C are a level. Along a level the loss is a valley in ln N; its bottom is
N*(C), and a power law  ln N* = k + a ln C  runs through the bottoms, each weighed by its precision.
How the valley is described decides the bias (:mod:`planner.fit.profile`): the usual parabola is off
even without noise, the cubic looks only as far from the bottom as the noise makes it
(:mod:`planner.fit.window`), the valley of two exponentials is right wherever the law is a sum of
powers. Intervals are statistical: t draws from the scatter about the valleys, which all levels
share; where the bottoms scatter about the line by more than that, the line's draws are stretched to
what they do (Birge's ratio).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.arrays import Floats
from planner.errors import EvidenceError, UsageError
from planner.estimate import LEVEL, Estimate
from planner.fit import profile
from planner.fit.profile import COEFFICIENTS, Profiles
from planner.fit.window import windowed
from planner.observations import Observations

METHODS = tuple(COEFFICIENTS)
SAME_LEVEL = 0.35
"""Runs within this of ln C belong to one level of compute."""
LEAST_LEVELS = 2
DRAWS = 1000


@dataclass(frozen=True)
class IsoLevel:
    """One level of compute: its FLOPs, its runs and sizes, and the size at the bottom.

    ``best`` is None where the bottom is not between the sizes tried; ``why`` then says so.
    """

    flops: float
    runs: int
    sizes: int
    best: Estimate | None
    why: str = ""


@dataclass(frozen=True)
class IsoflopFit:
    """The bottoms, and the power law ln N* = line[0] + line[1] (ln C - centre) through them.

    ``draws`` (S, 2) are statistical draws of the line; ``sigma`` is the robust sd of ln L about the
    valleys. ``profiles`` and ``precision`` (L,) are kept to repeat the fit on other losses.
    """

    method: str
    levels: tuple[IsoLevel, ...]
    line: Floats
    draws: Floats
    centre: float
    sigma: float
    profiles: Profiles
    precision: Floats

    @property
    def exponent(self) -> Estimate:
        """Return a of N* = k C^a."""
        return self._estimate(self.draws[:, 1], float(self.line[1]), LEVEL)

    def optimal_params_draws(self, flops: float) -> Floats:
        """Return draws (S,) of N*(C)."""
        return np.asarray(np.exp(self.draws @ self._at(flops)))

    def optimal_params(self, flops: float, *, level: float = LEVEL) -> Estimate:
        """Return N*(C) with its statistical interval."""
        value = float(np.exp(self.line @ self._at(flops)))
        return self._estimate(self.optimal_params_draws(flops), value, level)

    def without_noise(self, loss: Floats, flops: float) -> float:
        """Return the ln N*(C) that the same procedure finds on exact losses (n,) of all runs.

        Levels and runs keep their weights and windows, so that losses from a law give the bias this
        design has under it. A level whose bottom leaves the sizes tried is left out.
        """
        moved = self.profiles.with_loss(loss)
        found = profile.fit(moved, self.method)
        low = profile.log_bottoms(moved, self.method, found.a, found.shape)
        precision = self.precision * np.isfinite(low[0])
        if (precision > 0).sum() < LEAST_LEVELS:
            return float("nan")
        line = _line(low, self.profiles.log_flops, precision, self.centre)
        return float(line[0] @ self._at(flops))

    def _at(self, flops: float) -> Floats:
        return np.array([1.0, np.log(flops) - self.centre])

    def _estimate(self, draws: Floats, value: float, level: float) -> Estimate:
        how = f"statistical: isoflop {self.method}, t draws"
        return Estimate.from_draws(draws, level=level, method=how, value=value)


def isoflop(observations: Observations, method: str = "cubic", *, seed: int = 0) -> IsoflopFit:
    """Find the best size at every level of compute, and the power law through them.

    ``method`` is ``parabola``, ``cubic`` or ``valley``. Raises UsageError for another name and
    EvidenceError when fewer than two levels of compute bracket their best size.
    """
    if method not in METHODS:
        raise UsageError(f"there is no profile named {method!r}; known: {', '.join(METHODS)}")
    level = _enough(observations, method)
    whole = Profiles.of(observations.params, observations.flops, observations.loss, level)
    profiles, sigma = profile.calmed(whole, "valley" if method == "cubic" else method)
    profiles, scatter = windowed(profiles) if method == "cubic" else (profiles, None)
    found = profile.fit(profiles, method)
    low = profile.log_bottoms(profiles, method, found.a, found.shape)[0]
    shape, a = profile.draw(profiles, method, DRAWS, np.random.default_rng(seed), scatter)
    drawn = profile.drawn_bottoms(profiles, method, a, shape)
    used = np.isfinite(low)
    if used.sum() < LEAST_LEVELS:
        raise EvidenceError(
            f"{int(used.sum())} of {len(low)} levels of compute have their best size between the "
            f"sizes tried, {LEAST_LEVELS} are needed: add sizes on the side where the loss falls"
        )
    precision = used / np.maximum(drawn.var(axis=0), 1e-12)
    centre = float(np.average(profiles.log_flops, weights=precision))
    lines = _line(np.concatenate([low[None], drawn]), profiles.log_flops, precision, centre)
    on_line = lines[0, 0] + lines[0, 1] * (profiles.log_flops - centre)
    misses = np.where(used, precision * (low - on_line) ** 2, 0.0)
    stretch = np.sqrt(max(1.0, misses.sum() / max(used.sum() - 2, 1)))
    draws = lines[0] + stretch * (lines[1:] - lines[0])
    ends = profile.drawn_bottoms(profiles, method, found.a, found.shape)[0]
    levels = tuple(
        _level(observations, level == k, (low[k], ends[k]), drawn[:, k]) for k in range(len(low))
    )
    return IsoflopFit(method, levels, lines[0], draws, centre, sigma, profiles, precision)


def levels_of(flops: Floats) -> np.ndarray:
    """Return the level (n,) of every run: each begins at its smallest C and spans .35 of ln C."""
    order = np.argsort(flops, kind="stable")
    level, start, count = np.empty(len(flops), dtype=int), -np.inf, -1
    for i, c in zip(order, np.log(flops[order]), strict=True):
        if c > start + SAME_LEVEL:
            start, count = c, count + 1
        level[i] = count
    return level


def _enough(o: Observations, method: str) -> np.ndarray:
    """Keep the levels with a size more than the profile has coefficients; -1 marks other runs."""
    level, need = levels_of(o.flops), COEFFICIENTS[method] + 1
    sizes = [len(np.unique(o.params[level == k])) for k in range(level.max() + 1)]
    good = np.array(sizes) >= need
    if good.sum() < LEAST_LEVELS:
        raise EvidenceError(
            f"a {method} per level of compute needs {need} sizes at each of {LEAST_LEVELS} levels; "
            f"the most sizes at one level here are {', '.join(map(str, sorted(sizes)[-2:]))}"
        )
    number = np.where(good, np.cumsum(good) - 1, -1)
    return np.asarray(number[level])


def _line(low: Floats, log_flops: Floats, precision: Floats, centre: float) -> Floats:
    """Return (ln N* at the centre, slope) of the weighted line through bottoms (S, L)."""
    used = precision > 0
    x, w = log_flops[used] - centre, precision[used]
    columns = np.column_stack([np.ones_like(x), x])
    solve = np.linalg.solve(columns.T @ (columns * w[:, None]), (columns * w[:, None]).T)
    return np.asarray(low[:, used] @ solve.T)


def _level(
    o: Observations, rows: np.ndarray, place: tuple[float, float], drawn: Floats
) -> IsoLevel:
    """Describe a level; ``place`` is ln N at the bottom (nan: none) and where it points instead."""
    flops = float(np.exp(np.log(o.flops[rows]).mean()))
    sizes, count = o.params[rows], int(rows.sum())
    if np.isnan(place[0]):
        outside = place[1] > np.log(sizes).mean()
        side = f"above {sizes.max():.3g}" if outside else f"below {sizes.min():.3g}"
        why = f"the loss still falls {side}, the {'largest' if outside else 'smallest'} size"
        return IsoLevel(flops, count, len(np.unique(sizes)), None, why)
    how = "statistical: isoflop level, t draws"
    best = Estimate.from_draws(np.exp(drawn), method=how, value=float(np.exp(place[0])))
    return IsoLevel(flops, count, len(np.unique(sizes)), best)
