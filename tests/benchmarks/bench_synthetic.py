"""Calibration of the whole line: planted studies through the real loop, held to the truth.

Each study draws a world (law, noise, basins, exponents of lr and batch), sweeps it with the shipped
policy, and plans for 100x the largest proxy. Counted over independent studies: how often the
predictive 90 % intervals hold the held-out losses, ln N*, ln lr* and ln B* of the target; their
interval score against a plain delta-method fit of the same ladder; the decision error; and the
regret of the learning rate and batch that the plan would train its target with.

Two sets of worlds: *exact* ones follow the law to the target, and *bent* ones depart from it beyond
the ladder as the predictive interval assumes they may: ln(L - E) by .04 z and ln N* by .15 z per
decade of compute, ln lr* by .16 z + .35 z' per decade, ln B* by .25 z + .25 z' per decade.

    python -m tests.benchmarks.bench_synthetic [STUDIES] [SEED] [CONFIRM]

CONFIRM is how the question between grid and ladder is asked: design (default) or on.
"""

from __future__ import annotations

import math
import multiprocessing
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import curve_fit
from scipy.stats import binomtest, norm

from planner.decide.evidence import fit_loss_of, judge_held_out
from planner.decide.hyper import rung_hyper
from planner.fit.hyper_fit import HyperFit
from planner.ledger import Ledger
from planner.observations import Observations
from planner.proxies._planted import Truth
from planner.proxies.synthetic import SyntheticProxy
from planner.shape import Size
from planner.space import SearchSpace
from planner.sweep.inline import InlineExecutor
from planner.sweep.layout import Layout
from planner.sweep.loop import prepare, run_sweep, state_of
from planner.sweep.state import StudyState
from tests.studies import Silence

Z90 = float(norm.ppf(0.95))
REACH = 100.0
LEAST_BATCH = 128


@dataclass(frozen=True)
class Case:
    """One predicted number: what was said (in ln, or nats), what was true, and the reference's."""

    name: str
    low: float
    high: float
    truth: float
    reference: tuple[float, float] | None = None

    @property
    def covered(self) -> bool:
        return self.low <= self.truth <= self.high


@dataclass(frozen=True)
class Outcome:
    cases: tuple[Case, ...]
    size_error: float
    wasted: float
    bent: bool
    held_out_won: bool
    regret: float
    """Nats above the loss at the target's own lr* and B*."""


def world(rng: np.random.Generator, *, bent: bool) -> dict:
    """Draw the options of a synthetic proxy: law, noise, basins and exponents."""
    alpha, beta = rng.uniform(0.3, 0.5), rng.uniform(0.35, 0.75)
    balance = 5e4 * math.exp(0.4 * rng.standard_normal())  # N*(1e12)
    parts = rng.uniform(0.25, 0.45)  # A N^-alpha at N*(1e12), nats
    return {
        "law": {
            "E": rng.uniform(0.8, 1.4),
            "A": parts * balance**alpha,
            "alpha": alpha,
            "beta": beta,
            "B": parts * alpha / beta * (1e12 / 6 / balance) ** beta,
        },
        "noise": float(rng.choice([0.002, 0.004, 0.008])),
        "lr": {
            "optimum": 0.016 * math.exp(0.4 * rng.standard_normal()),
            "p": -0.35 + 0.4 * rng.standard_normal(),
            "q": 0.25 + 0.3 * rng.standard_normal(),
            "g": 0.7 + 0.3 * rng.standard_normal(),
            "batch_scale": 128.0 * math.exp(0.5 * rng.standard_normal()),
        },
        "batch": {
            "optimum": 400.0 * math.exp(0.4 * rng.standard_normal()),
            "r": 0.5 + 0.15 * rng.standard_normal(),
        },
        "curvature": {
            "low": 0.03 * math.exp(0.3 * rng.standard_normal()),
            "high": 0.04 * math.exp(0.3 * rng.standard_normal()),
            "batch": 0.04 * math.exp(0.3 * rng.standard_normal()),
        },
        "drift": {
            "from_flops": 2e12,
            "loss_per_decade": 0.04 * rng.standard_normal() * bent,
            "ln_n_per_decade": 0.15 * rng.standard_normal() * bent,
        },
    }


def study(options: dict, seed: int, confirm: str) -> SearchSpace:
    """Return the quickstart's grid over a planted world."""
    return SearchSpace.model_validate(
        {
            "study": "planted",
            "seed": seed,
            "proxy": {"name": "synthetic", "options": options},
            "sizes": {"width": [16, 32, 48, 64, 80, 96], "depth": 2},
            "lr": {"log": [2e-3, 6.4e-2], "factor": 2},
            "batch_tokens": {"log": [128, 2048], "factor": 4},
            "horizons": {"tokens_per_run": ["500k", "1M", "2M", "4M", "8M"]},
            "stages": {"confirm": confirm},
            "budget": {"flops": 4e13},
            "executor": {"name": "inline", "workers": 1},
        }
    )


def measure(task: tuple[int, bool, str]) -> Outcome:
    """Sweep one planted world and hold its predictions to the truth."""
    seed, bent, confirm = task
    rng = np.random.default_rng([seed, int(bent)])
    options = world(rng, bent=bent)
    setup = prepare(study(options, seed, confirm))
    with tempfile.TemporaryDirectory() as folder, Ledger.open(Path(folder) / "study") as ledger:
        run_sweep(setup, ledger, InlineExecutor, Silence())
        state = state_of(setup, ledger)
    return _hold(state, setup.layout, setup.proxy, rng, bent=bent)


def _hold(
    state: StudyState,
    layout: Layout,
    proxy: SyntheticProxy,
    rng: np.random.Generator,
    *,
    bent: bool,
) -> Outcome:
    runs = state.runs_by_stage
    ladder = {stage: ended for stage, ended in runs.items() if stage != "held_out"}
    hyper = state.hyper
    before = fit_loss_of(ladder, hyper)
    judgement = judge_held_out(state.prediction, runs, before.sigma)
    fit = fit_loss_of(runs, hyper, judgement)
    target = REACH * layout.c_max
    draws = np.log(fit.optimal_params_draws(target))
    best = float(proxy.truth.optimal_size(target))
    tokens = target / 6 / best
    decades = math.log10(REACH) * bent
    size = proxy.size({"params": best})
    batch = float(proxy.truth.best_batch(tokens))
    lr = float(proxy.truth.best_lr(best, tokens, batch))
    said_lr, said_batch = hyper.lr(size, tokens, batch), hyper.batch(size, tokens)
    scatter = bent * 0.16 * rng.standard_normal() + 0.35 * decades * rng.standard_normal()
    b_scatter = bent * 0.25 * rng.standard_normal() + 0.25 * decades * rng.standard_normal()
    regret = _regret(proxy.truth, hyper, size, tokens, (scatter, b_scatter))
    loss_ref, n_ref = delta_method(ladder_points(ladder), state.prediction, target)
    cases = [
        Case("ln N*", *np.quantile(draws, [0.05, 0.95]), math.log(best), n_ref),
        Case("ln lr*", math.log(said_lr.low), math.log(said_lr.high), math.log(lr) + scatter),
        Case(
            "ln B*",
            math.log(said_batch.low),
            math.log(said_batch.high),
            math.log(batch) + b_scatter,
        ),
    ]
    measured = {run.size.params_matmul: run.loss for run in runs["held_out"]}
    middle = len(state.prediction.rungs) // 2
    for index, rung in enumerate(state.prediction.rungs):
        name = "held-out loss" if index == middle else "held-out loss, other sizes"
        truth = measured[rung.params]
        cases.append(Case(name, rung.loss.low, rung.loss.high, truth, loss_ref[index]))
    chosen = float(np.exp(np.median(draws)))
    at = [float(proxy.truth.best_loss(n, target / 6 / n)) for n in (chosen, best)]
    step = 1.01
    slope = math.log(step) / (
        at[1] - float(proxy.truth.best_loss(best * step**0.5, tokens * step**0.5))
    )
    won = judgement is not None and judgement.winner_steps_off == 0
    return Outcome(
        tuple(cases), abs(math.log(chosen / best)), (at[0] - at[1]) * slope, bent, won, regret
    )


def _regret(
    truth: Truth, hyper: HyperFit, size: Size, tokens: float, scatter: tuple[float, float]
) -> float:
    """Return what the plan's lr and batch cost at a target whose optima scatter in ln."""
    plan = rung_hyper(hyper, size, tokens, min_batch_tokens=LEAST_BATCH)
    best = float(truth.best_lr(size.params_matmul, tokens, plan.batch_tokens))
    off = math.log(plan.lr / best) - scatter[0]
    off_batch = math.log(plan.batch_tokens / float(truth.best_batch(tokens))) - scatter[1]
    k = truth.curvature.low if off < 0 else truth.curvature.high
    return k * off**2 + truth.curvature.batch * off_batch**2


def ladder_points(ladder: dict) -> Observations:
    """Return the decayed ladder, as the loss law sees it."""
    return Observations.from_runs(
        [run for run in ladder["ladder"] if run.trial.schedule.name != "constant"]
    )


def delta_method(points, prediction, target):
    """Fit the law by least squares with normal intervals: no clusters, no discrepancy, no t."""

    def ln_loss(x, log_e, log_a, log_b, alpha, beta):
        n, d = x
        return np.log(
            np.exp(log_e) + np.exp(log_a - alpha * np.log(n)) + np.exp(log_b - beta * np.log(d))
        )

    def n_star(theta):
        _, log_a, log_b, alpha, beta = theta
        ratio = math.log(alpha / beta) + log_a - log_b
        return (ratio + beta * math.log(target / 6)) / (alpha + beta)

    x = np.stack([points.params, points.tokens])
    start = [0.0, math.log(30), math.log(1e3), 0.4, 0.5]
    theta, cov = curve_fit(ln_loss, x, np.log(points.loss), p0=start, maxfev=100_000)
    s2 = (
        float(np.mean((np.log(points.loss) - ln_loss(x, *theta)) ** 2))
        * len(points)
        / max(1, len(points) - 5)
    )

    def interval(f, extra=0.0):
        steps = 1e-4 * np.maximum(1.0, np.abs(theta))
        gradient = np.array(
            [
                (f(theta + h) - f(theta - h)) / (2 * s)
                for h, s in zip(np.diag(steps), steps, strict=True)
            ]
        )
        sd = math.sqrt(max(0.0, float(gradient @ cov @ gradient)) + extra)
        return f(theta) - Z90 * sd, f(theta) + Z90 * sd

    losses = []
    for rung in prediction.rungs:
        at = np.array([[rung.params], [rung.tokens]])
        low, high = interval(lambda t, at=at: float(ln_loss(at, *t)[0]), s2)
        losses.append((math.exp(low), math.exp(high)))
    return losses, interval(n_star)


def score(low: float, high: float, truth: float, alpha: float = 0.1) -> float:
    """Interval score: width plus 2 / alpha times the miss."""
    return (high - low) + 2 / alpha * (max(low - truth, 0.0) + max(truth - high, 0.0))


def report(outcomes: list[Outcome], title: str) -> None:
    """Print coverage with its binomial test, interval scores and the decision error."""
    print(f"\n{title}: {len(outcomes)} studies, target {REACH:g}x the largest ladder run")
    for name in dict.fromkeys(case.name for o in outcomes for case in o.cases):
        cases = [case for o in outcomes for case in o.cases if case.name == name]
        hits = sum(case.covered for case in cases)
        independent = len(cases) == len(outcomes)
        p = binomtest(hits, len(cases), 0.9).pvalue if independent else math.nan
        width = np.median([case.high - case.low for case in cases])
        ours = np.mean([score(c.low, c.high, c.truth) for c in cases])
        line = f"  {name:27s} covered {hits}/{len(cases)} = {hits / len(cases):6.1%}"
        line += f"  (binomial p {p:.2f})" if independent else "  (not independent)  "
        line += f"  median width {width:.3f}  interval score {ours:.3f}"
        if cases[0].reference is not None:
            theirs = np.mean([score(*c.reference, c.truth) for c in cases])
            held = np.mean([c.reference[0] <= c.truth <= c.reference[1] for c in cases])
            line += f"  delta method: {held:.1%}, {theirs:.3f}"
        print(line)
    errors = np.array([o.size_error for o in outcomes])
    wasted = np.array([o.wasted for o in outcomes])
    print(
        f"  decision error |ln N/N*| median {np.median(errors):.3f}, p90 "
        f"{np.quantile(errors, 0.9):.3f}; compute wasted median {np.median(wasted):.2%}, p90 "
        f"{np.quantile(wasted, 0.9):.2%}; held-out winner as predicted in "
        f"{np.mean([o.held_out_won for o in outcomes]):.0%}; regret of lr and batch mean "
        f"{np.mean([o.regret for o in outcomes]):.4f}, median "
        f"{np.median([o.regret for o in outcomes]):.4f} nats"
    )


def main() -> None:
    """Run both sets on two processes and print them."""
    studies = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    confirm = sys.argv[3] if len(sys.argv) > 3 else "design"
    tasks = [(seed + i, bent, confirm) for bent in (False, True) for i in range(studies)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        outcomes = pool.map(measure, tasks, chunksize=4)
    report([o for o in outcomes if not o.bent], "exact worlds")
    report([o for o in outcomes if o.bent], "bent worlds")


if __name__ == "__main__":
    main()
