"""Coverage of nominal 90 % statistical intervals on planted sets, ours beside the known methods.

Scored: ln N*, ln D* and the law's mean loss at the true (N*, D*), each at 10, 100 and 1,000 times
the largest compute (the mean loss is the law's times the mean of e^noise, which matters where noise
is one-sided). A method is called calibrated (*) in a cell when all nine lie within 87-93 %; widths
are medians over the sets, as a ratio to the narrowest of the known methods that are calibrated:

    delta t        least squares, gradient of the quantity, t of n - P
    profile F      least squares, likelihood profile against F(1, n - P)
    sandwich HC3   least squares
    plain robust   Huber at 1e-3 with the variance of a normal fit at the robust residual sd
    cases 1e-3     case bootstrap over runs, or over groups, of the Huber 1e-3 fit (Epoch)
    cases auto     the same with our delta
    posterior      weak priors, whatever the data say (what the product did before)

    python -m tests.benchmarks.bench_coverage [SETS] [CELL]

CELL is a name, "harder" or "all"; without it the seven of the target are run.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable

import numpy as np
from scipy.stats import t as student

from planner.arrays import Floats
from planner.fit.law_fit import EFFICIENT, fit_law
from planner.fit.laws import CHINCHILLA
from planner.fit.points import Points
from planner.fit.posterior import sample
from planner.fit.solution import Solution
from planner.fit.solve import refit, residuals, solve
from planner.fit.tangent import noise_scale
from tests.benchmarks.coverage_worlds import CELLS, HARDER, REACH, TRUTH, Cell, quantities

RESAMPLES = 300
SLOW_SETS = 200
"""Sets on which the slow known methods are measured."""
STEP = 1e-5
Interval = tuple[Floats, Floats]


class Case:
    """One planted set with the fits that several methods share."""

    def __init__(self, points: Points, group: tuple[str, ...], flops: Floats, seed: int) -> None:
        self.points, self.group, self.flops = points, group, flops
        self.rng = np.random.default_rng(seed)
        self.plain = solve(points, CHINCHILLA, np.inf)
        self.freedom = len(points) - CHINCHILLA.n_free
        self.t90 = float(student.ppf(0.95, self.freedom))
        self.member = np.unique(np.asarray(group), return_inverse=True)[1]

    def say(self, phi: Floats) -> Floats:
        """Return the quantities, shape (S, 9), of phi (S, 5)."""
        return quantities(CHINCHILLA.theta_of(self.points, phi), self.flops)

    def slopes(self, phi: Floats) -> Floats:
        """Return d quantities / d phi, shape (S, 9, 5)."""
        steps = STEP * np.eye(phi.shape[1])
        return np.stack([(self.say(phi + s) - self.say(phi - s)) / (2 * STEP) for s in steps], -1)

    def centred(self, solution: Solution, covariance: Floats) -> Interval:
        """Return the delta-method interval for a covariance of phi."""
        phi = solution.free[None]
        slopes = self.slopes(phi)[0]
        half = self.t90 * np.sqrt(np.einsum("qi,ij,qj->q", slopes, covariance, slopes))
        return self.say(phi)[0] - half, self.say(phi)[0] + half

    def quantiles(self, phi: Floats) -> Interval:
        """Return the interval of draws."""
        low, high = np.quantile(self.say(phi), [0.05, 0.95], axis=0)
        return low, high


def delta_t(case: Case) -> Interval:
    """Return least squares with the normal-theory covariance."""
    log_loss, jac = CHINCHILLA.evaluate(case.points, case.plain.free[None])
    s2 = ((log_loss[0] - case.points.y) ** 2).sum() / case.freedom
    return case.centred(case.plain, s2 * np.linalg.inv(jac[0].T @ jac[0]))


def sandwich_hc3(case: Case) -> Interval:
    """Return least squares with the HC3 covariance, scores summed over groups."""
    log_loss, jac = CHINCHILLA.evaluate(case.points, case.plain.free[None])
    bread = np.linalg.inv(jac[0].T @ jac[0])
    leverage = np.einsum("ij,jk,ik->i", jac[0], bread, jac[0])
    scores = jac[0] * ((log_loss[0] - case.points.y) / (1.0 - leverage))[:, None]
    influence = np.eye(case.member.max() + 1)[case.member].T @ scores @ bread
    return case.centred(case.plain, influence.T @ influence)


def plain_robust(case: Case) -> Interval:
    """Return Huber at 1e-3 with the covariance of a normal fit at the robust residual sd."""
    solution = solve(case.points, CHINCHILLA, 1e-3)
    log_loss, jac = CHINCHILLA.evaluate(case.points, solution.free[None])
    s2 = noise_scale(log_loss[0] - case.points.y, CHINCHILLA.n_free) ** 2
    return case.centred(solution, s2 * np.linalg.inv(jac[0].T @ jac[0]))


def profile_f(case: Case) -> Interval:
    """Return where the least squares exceed their minimum by F: g is pushed along that contour."""
    points, best = case.points, case.plain.free
    low, high = CHINCHILLA.box(points)
    least = float((residuals(points, CHINCHILLA, best[None]) ** 2).sum())
    room = least * case.t90**2 / case.freedom
    sign = np.repeat([-1.0, 1.0], 9)
    free, which = np.tile(best, (18, 1)), np.tile(np.arange(9), 2)
    for _ in range(12):
        log_loss, jac = CHINCHILLA.evaluate(points, free)
        r = log_loss - points.y
        goal = sign[:, None] * case.slopes(free)[np.arange(18), which]
        gram = np.linalg.inv(np.swapaxes(jac, 1, 2) @ jac)
        down = np.einsum("sij,snj,sn->si", gram, jac, r)
        along = np.einsum("sij,sj->si", gram, goal)
        floor = (r**2).sum(1) - np.einsum("sn,snj,sj->s", r, jac, down)
        pace = np.sqrt(np.maximum(least + room - floor, 0.0) / (goal * along).sum(1))
        free = np.clip(free - down + pace[:, None] * along, low, high)
    ends = case.say(free)[np.arange(18), which]
    return ends[:9], ends[9:]


def _cases(case: Case, delta: float) -> Interval:
    groups = case.member.max() + 1
    weights = case.rng.multinomial(groups, np.full(groups, 1.0 / groups), RESAMPLES)
    solution = solve(case.points, CHINCHILLA, delta)
    rows = weights[:, case.member].astype(float)
    free, _ = refit(case.points, CHINCHILLA, delta, rows, solution.free)
    return case.quantiles(free)


def cases_narrow(case: Case) -> Interval:
    """Return the case bootstrap of the Huber 1e-3 fit."""
    return _cases(case, 1e-3)


def cases_auto(case: Case) -> Interval:
    """Return the case bootstrap with delta at 1.345 robust sd."""
    r = residuals(case.points, CHINCHILLA, case.plain.free[None])[0]
    return _cases(case, EFFICIENT * noise_scale(r, CHINCHILLA.n_free))


def weak_priors(case: Case) -> Interval:
    """Return the posterior with weak priors, asked for or not."""
    member = np.eye(case.member.max() + 1)[case.member]
    return case.quantiles(sample(case.points, CHINCHILLA, member, 1000, case.rng)[0])


KNOWN: dict[str, tuple[Callable[[Case], Interval], bool]] = {
    "delta t": (delta_t, False),
    "sandwich HC3": (sandwich_hc3, False),
    "profile F": (profile_f, True),
    "plain robust": (plain_robust, False),
    "cases 1e-3": (cases_narrow, True),
    "cases auto": (cases_auto, True),
    "posterior": (weak_priors, True),
}


def measure(cell: Cell, sets: int) -> None:
    """Print coverage and widths of every method in one cell."""
    params, tokens, group = cell.design()
    rng = np.random.default_rng([ord(c) for c in cell.name])
    loss = CHINCHILLA.predict(TRUTH, params, tokens) * np.exp(cell.errors(params, sets, rng))
    flops = 6.0 * float((params * tokens).max()) * REACH
    truth = quantities(TRUTH[None], flops)[0] + np.repeat([0.0, 0.0, cell.lift()], 3)
    said: dict[str, list[Interval]] = {}
    methods: Counter[str] = Counter()
    spent = 0.0
    for seed, losses in enumerate(loss):
        points = Points.of(params, tokens, losses)
        start = time.process_time()
        fit = fit_law(points, CHINCHILLA, None, group, seed)
        spent += time.process_time() - start
        methods[fit.draws.method] += 1
        case = Case(points, group, flops, seed)
        low, high = np.quantile(quantities(fit.theta, flops), [0.05, 0.95], axis=0)
        said.setdefault("ours", []).append((low, high))
        for name, (method, slow) in KNOWN.items():
            if seed < SLOW_SETS or not slow:
                said.setdefault(name, []).append(method(case))
    print(
        f"\n{cell.name}: {sets} sets of {len(params)} rows, fit_law {1e3 * spent / sets:.0f} ms CPU"
    )
    print("  chosen: " + ", ".join(f"{name} {n / sets:.0%}" for name, n in methods.most_common()))
    _table(said, truth)


def _table(said: dict[str, list[Interval]], truth: Floats) -> None:
    cover, width = {}, {}
    for name, intervals in said.items():
        low, high = np.moveaxis(np.asarray(intervals), 1, 0)
        cover[name] = 100 * ((low <= truth) & (truth <= high)).mean(axis=0)
        width[name] = np.median(high - low, axis=0)
    fair = [n for n, c in cover.items() if n != "ours" and c.min() >= 87 and c.max() <= 93]
    best = np.min([width[n] for n in fair], axis=0) if fair else np.full(9, np.nan)
    head = "ln N* 10x 100x 1000x      ln D*               ln L             width at 100x of N*, L"
    print(f"  {'':12s}   sets  {head}   / narrowest calibrated, worst of 9")
    for name, c in cover.items():
        figures = "  ".join(" ".join(f"{v:5.1f}" for v in c[i : i + 3]) for i in (0, 3, 6))
        worst = float((width[name] / best).max())
        mark = "*" if name in fair else " "
        print(
            f"  {name:12s}{mark} {len(said[name]):5d}  {figures}  {width[name][1]:.3f} "
            f"{width[name][7]:.5f}  {worst:.3f}"
        )


def main() -> None:
    """Measure the cells asked for."""
    sets = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    asked = sys.argv[2] if len(sys.argv) > 2 else ""
    every = CELLS + HARDER
    named = {"": CELLS, "harder": HARDER, "all": every}
    chosen = named.get(asked) or tuple(c for c in every if c.name == asked)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for cell in chosen:
            measure(cell, sets)
    if not chosen:
        print(f"no cell {asked!r}; known: " + ", ".join(cell.name for cell in every))


if __name__ == "__main__":
    main()
