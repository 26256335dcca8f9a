"""Planted faults: how many are caught, and how often a sound table raises an alarm.

Run with `python -m tests.benchmarks.bench_faults [SEEDS] [CLEAN]` (30 and 300). Every fault begins
at the size it has in life and grows until it moves ln N*(100 C_max) by one standard error of the
clean fit or more; `at 1 se` plants the same fault scaled to move it by just one, and `bound` is how
often the best conceivable test of the residuals would find it then. `shift` is the median move in
standard errors. Faults without a size (copies, overflow, few sizes) are planted as
they come. A catch is a finding, above INFO, with one of the codes the fault is known by.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import replace

import numpy as np
from scipy.stats import norm

from planner.errors import EvidenceError
from planner.finding import Severity
from planner.fit.check import check_fit, check_points, too_thin
from planner.fit.check.linear import Linear
from planner.fit.law_fit import fit_law
from planner.fit.laws import CHINCHILLA, optimal_params
from planner.fit.points import Points
from planner.fit.solve import solve
from planner.observations import Observations
from tests.fit.clean_worlds import World, clean_world
from tests.fit.faults import KINDS, UNSEEN, Kind

STEPS = 1.25 ** np.arange(0, 24)
SMALL = np.geomspace(0.01, 1.0, 25)


def findings(data: Observations, seed: int = 0) -> list:
    """Return what the checks of one law say of a table."""
    if reasons := too_thin(data):
        raise EvidenceError("; ".join(reasons))
    points = Points.of(data.params, data.tokens, data.loss)
    fit = fit_law(points, CHINCHILLA, None, data.group, seed)
    theta = np.array(list(fit.params.values()))
    return [
        *check_points(data),
        *check_fit(data, theta, fit.status, fit.sigma, fit.draws.theta),
    ]


def alarms(data: Observations) -> set[str]:
    """Return the codes above INFO; "too-thin" where no law can be fitted."""
    try:
        return {f.code for f in findings(data) if f.severity is not Severity.INFO}
    except EvidenceError:
        return {"too-thin"}


def log_best(data: Observations, flops: float) -> float:
    theta = solve(Points.of(data.params, data.tokens, data.loss), CHINCHILLA, np.inf).theta
    return float(np.log(optimal_params(theta, flops)))


class Ruler:
    """Measures how far a fault moves ln N*(100 C_max) by least squares, in standard errors.

    The standard error is that of the clean table's draws. (Huber's fit moves less for outliers.)
    """

    def __init__(self, clean: Observations) -> None:
        points = Points.of(clean.params, clean.tokens, clean.loss)
        fit = fit_law(points, CHINCHILLA, None, clean.group, 0)
        self.flops = 100.0 * float(clean.flops.max())
        ends = np.quantile(np.log(optimal_params(fit.draws.theta, self.flops)), [0.16, 0.84])
        self.se, self.clean = float(np.ptp(ends)) / 2.0, log_best(clean, self.flops)

    def moved(self, data: Observations) -> float:
        if too_thin(data):
            return np.nan
        return abs(log_best(data, self.flops) - self.clean) / self.se


def plant(kind: Kind, world: World, seed: int, *, just: bool) -> tuple[Observations, float]:
    """Return the table with the fault and its shift; ``just`` one standard error, or natural."""

    def at(size: float) -> Observations:
        return kind.plant(replace(world, rng=np.random.default_rng([11, seed])), size)

    ruler = Ruler(world.data)
    if not kind.scaled:
        return at(1.0), ruler.moved(at(1.0))
    sizes = np.r_[SMALL, STEPS[1:]] if just else STEPS
    for size in sizes:
        data = at(size)
        moved = ruler.moved(data)
        if moved >= 1.0:
            break
    return data, moved


def most(kind: Kind, seed: int) -> float:
    """Return the chance that the best test finds the fault when it moves N* by one se.

    The best test knows the fault's pattern and the noise, and spends all 4 % of false alarms on it.
    """
    world = clean_world(1000 + seed)
    data, _ = plant(kind, world, seed, just=True)
    clean, n = world.data, len(world.data)
    before = clean.loss / CHINCHILLA.predict(world.truth, clean.params, clean.tokens)
    after = data.loss / CHINCHILLA.predict(world.truth, data.params, data.tokens)
    linear = Linear.of(data.take(np.arange(n)), CHINCHILLA, world.truth)
    shape = replace(linear, r=np.log(after / before)[:n])
    left = np.linalg.norm(shape.left()) / world.noise
    return float(norm.sf(norm.isf(0.04) - left))


def detect(kind: Kind, seeds: int, *, just: bool) -> tuple[float, float, Counter]:
    caught, shifts, codes = 0, [], Counter()
    for seed in range(seeds):
        data, shift = plant(kind, clean_world(1000 + seed), seed, just=just)
        seen = alarms(data)
        caught += bool(seen & set(kind.codes))
        shifts.append(shift)
        codes.update(seen)
    return caught / seeds, float(np.nanmedian(shifts)), codes


def false_alarms(count: int, tails: float = np.inf) -> tuple[float, Counter]:
    raised, codes = 0, Counter()
    for seed in range(count):
        seen = alarms(clean_world(seed, tails).data)
        raised += bool(seen)
        codes.update(seen)
    return raised / count, codes


def table(kinds: tuple[Kind, ...], seeds: int) -> int:
    """Print one line per kind and return how many are caught in 95 % or more."""
    print(
        f"{'fault':24s}{'caught':>8s}{'shift':>8s}{'at 1 se':>9s}{'bound':>7s}  most frequent codes"
    )
    passed = 0
    for kind in kinds:
        share, shift, codes = detect(kind, seeds, just=False)
        passed += share >= 0.95
        at_one, bound = "-", "-"
        if kind.scaled:
            at_one = f"{100 * detect(kind, seeds, just=True)[0]:.0f} %"
        if kind.scaled and kind.name != "sweep kept whole":
            bound = f"{100 * np.mean([most(kind, seed) for seed in range(seeds)]):.0f} %"
        often = ", ".join(f"{code} {n}" for code, n in codes.most_common(4))
        print(
            f"{kind.name:24s}{100 * share:6.0f} %{shift:8.1f}{at_one:>9s}{bound:>7s}  {often}",
            flush=True,
        )
    return passed


def main(seeds: int = 30, clean: int = 300) -> None:
    """Print the table of detections and the rate of false alarms."""
    start = time.process_time()
    rate, codes = false_alarms(clean)
    print(f"clean sets with any alarm: {100 * rate:.1f} % of {clean}; {dict(codes)}")
    heavy, codes = false_alarms(clean // 3, tails=5.0)
    print(f"  with t5 tails: {100 * heavy:.1f} % of {clean // 3}; {dict(codes)}")
    passed = table(KINDS, seeds)
    print(f"{passed} of {len(KINDS)} kinds caught in 95 % or more (target: 16 kinds)")
    print("the same faults in tables of params, tokens, flops and loss alone:")
    table(UNSEEN, seeds)
    print(f"CPU {time.process_time() - start:.0f} s")


if __name__ == "__main__":
    main(*(int(text) for text in sys.argv[1:3]))
