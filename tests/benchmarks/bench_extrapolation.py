"""The top decade of compute held out on five public data sets: what every law and the average say.

Run with `python -m tests.benchmarks.bench_extrapolation [--quick]`. Selection sees only the runs at
a tenth of the largest compute or less. Errors are RMS of ln loss over the runs held out, as a ratio
to Chinchilla's law fitted to the same runs (every row alike), in per cent of the loss, and in
compute-equivalents: |dL| / (-dL/dlnC) along N and D growing alike, epochs kept, of the law in
REFERENCE fitted to all rows; a case below .02 counts as .02. Target: geometric mean of the ratio
<= .75, none above 1.15 plus noise. Sensitivity: sets left out one by one, 70 % subsamples, other
cuts, and what happens without each law.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from planner.arrays import Floats
from planner.fit.law_fit import LawFit, fit_law
from planner.fit.laws import CHINCHILLA, Law
from planner.fit.points import Points
from planner.fit.registry import law_named
from planner.fit.select import (
    candidates,
    choose,
    fresh_weights,
    rolling_origin,
    stacking_weights,
)
from planner.fit.solve import solve
from planner.observations import Observations

DATA = Path("../shared/data")
REFERENCE = {
    "chinchilla-240": "coupled",
    "dclm": "coupled",
    "gadre_rpj": "coupled",
    "data_constrained": "data-constrained",
    "farseer": "farseer",
}
"""The best-known law of each set, whose slope turns a loss into compute."""
LEAST_ERROR = 0.02
SUBSAMPLES = 5


def observations(
    params: Floats, tokens: Floats, flops: Floats, loss: Floats, unique: Floats | None = None
) -> Observations:
    """Return a table of independent runs."""
    unknown = np.full(len(loss), np.nan)
    names = tuple(f"r{i}" for i in range(len(loss)))
    return Observations(
        *(np.asarray(v, float) for v in (params, tokens, flops, loss)),
        *(unknown, unknown, unknown, names, names),
        n_convention="unspecified",
        flops_convention="table",
        unique_tokens=unknown if unique is None else np.asarray(unique, float),
    )


def load() -> dict[str, Observations]:
    """Return the five sets; see ../shared/data/README.md for their columns and traps."""
    epoch = pd.read_csv(DATA / "epoch_chinchilla/svg_extracted_data.csv")
    epoch = epoch.sort_values("loss", kind="stable").iloc[:-5]
    n, c = epoch["Model Size"].to_numpy(float), epoch["Training FLOP"].to_numpy(float)
    sets = {"chinchilla-240": observations(n, c / (6 * n), c, epoch["loss"].to_numpy())}
    dclm = pd.read_csv(DATA / "marin_dclm/isoflop-dclm.csv")
    sets["dclm"] = observations(
        dclm["parameter_count"].to_numpy(float),
        dclm["throughput/total_tokens"].to_numpy(float),
        dclm["throughput/total_gflops"].to_numpy(float) * 1e9,
        dclm["eval/paloma/macro_loss"].to_numpy(),
    )
    gadre = pd.read_csv(DATA / "gadre_rpj/runs_losses.csv")
    n, d = gadre["params"].to_numpy(float), gadre["tokens"].to_numpy(float)
    loss = next(name for name in gadre.columns if name.startswith("loss::c4_val/"))
    sets["gadre_rpj"] = observations(n, d, 6 * n * d, gadre[loss].to_numpy())
    for task in ("data_constrained", "farseer"):
        parts = [
            pd.read_parquet(DATA / f"scalebench/{task}/{part}-00000-of-00001.parquet")
            for part in ("train", "test")
        ]
        both = pd.concat(parts).rename(columns={"N": "params", "D": "tokens"})
        n, d = both["params"].to_numpy(float), both["tokens"].to_numpy(float)
        unique = both["unique_tokens"].to_numpy(float) if "unique_tokens" in both else None
        sets[task] = observations(n, d, 6 * n * d, both["loss"].to_numpy(), unique)
    return sets


def points_of(runs: Observations, law: Law, weights: Floats | None = None) -> Points:
    """Return the points a law is fitted to, with the column it needs."""
    extra = getattr(runs, law.extra) if law.extra else None
    return Points.of(runs.params, runs.tokens, runs.loss, weights, extra=extra)


def errors_of(law: Law, theta: Floats, runs: Observations) -> Floats:
    """Return ln L_law - ln L, shape (n,)."""
    extra = getattr(runs, law.extra) if law.extra else None
    return np.asarray(
        np.log(law.predict(theta, runs.params, runs.tokens, extra)) - np.log(runs.loss)
    )


def compute_slope(name: str, runs: Observations, at: Observations) -> Floats:
    """Return -d ln L / d ln C, shape (n,), of the best-known law of the set."""
    law = law_named(REFERENCE[name])
    found = solve_to_scale(runs, law)
    h = 0.01
    grown = [
        np.log(
            law.predict(
                found.solution.theta,
                at.params * np.exp(s / 2),
                at.tokens * np.exp(s / 2),
                at.unique_tokens * np.exp(s / 2) if law.extra else None,
            )
        )
        for s in (-h, h)
    ]
    return np.asarray((grown[0] - grown[1]) / (2 * h))


def solve_to_scale(runs: Observations, law: Law, weights: Floats | None = None) -> LawFit:
    """Fit one law with a delta that follows its residuals."""
    return fit_law(points_of(runs, law, weights), law, None, runs.group, 0)


def median_of(values: Floats, weights: Floats) -> Floats:
    """Return the weighted median over laws of values (laws, n): what a mixture's median says."""
    order = np.argsort(values, axis=0)
    ranked = np.take_along_axis(values, order, axis=0)
    middle = np.cumsum(weights[order], axis=0) - weights[order] / 2
    return np.array([np.interp(0.5, middle[:, j], ranked[:, j]) for j in range(values.shape[1])])


@dataclass(frozen=True)
class Outcome:
    """Errors of ln loss by name ("average", "chosen", the laws'), and what was decided."""

    errors: dict[str, Floats]
    weights: dict[str, float]
    chosen: str
    seconds: float

    def rms(self, name: str) -> float:
        """Return the RMS error of ln loss."""
        return float(np.sqrt(np.mean(self.errors[name] ** 2)))

    def ratio(self, name: str) -> float:
        """Return the RMS error over that of Chinchilla's law fitted to every row alike."""
        return self.rms(name) / self.rms("fixed")


def measure(seen: Observations, unseen: Observations, without: str = "") -> Outcome:
    """Fit and select on ``seen``, and score on ``unseen``."""
    start = time.process_time()
    weights = fresh_weights(seen)
    laws = [law for law in candidates(seen) if law.name != without]
    fits = [solve_to_scale(seen, law, weights) for law in laws]
    rolling = rolling_origin(fits, seen.flops, seen.group)
    shares = stacking_weights(rolling)
    seconds = time.process_time() - start
    with np.errstate(over="ignore"):
        errors = {f.law.name: errors_of(f.law, f.solution.theta, unseen) for f in fits}
    chosen = fits[choose(rolling)].law.name
    errors["average"] = median_of(np.array(list(errors.values())), shares)
    errors["chosen"] = errors[chosen]
    plain = solve(points_of(seen, CHINCHILLA), CHINCHILLA, fits[rolling.plain].delta)
    errors["fixed"] = errors_of(CHINCHILLA, plain.theta, unseen)
    names = [law.name for law in laws]
    return Outcome(errors, dict(zip(names, shares.tolist(), strict=True)), chosen, seconds)


def split(runs: Observations, decades: float = 1.0) -> tuple[Observations, Observations]:
    """Return the runs below and within the top decades of compute."""
    below = runs.flops <= runs.flops.max() / 10.0**decades
    return runs.take(below), runs.take(~below)


def main() -> None:
    """Print the table and its sensitivity."""
    if not DATA.is_dir():
        print(f"skipped: {DATA} is not there")
        return
    sets = load()
    outcomes = {name: measure(*split(runs)) for name, runs in sets.items()}
    for name, runs in sets.items():
        report(name, runs, outcomes[name])
    summary("average", [o.ratio("average") for o in outcomes.values()])
    summary("chosen law", [o.ratio("chosen") for o in outcomes.values()])
    for name in outcomes:
        rest = [o.ratio("average") for other, o in outcomes.items() if other != name]
        summary(f"average, {name} left out", rest)
    if "--quick" not in sys.argv:
        sensitivity(sets)


def report(name: str, runs: Observations, outcome: Outcome) -> None:
    """Print one set: every law, the average, the choice."""
    seen, unseen = split(runs)
    slope = compute_slope(name, runs, unseen)
    print(
        f"\n{name}: {len(seen)} runs seen, {len(unseen)} held out; 100 % of compute is "
        f"{100 * np.median(slope):.1f} % of loss; chosen {outcome.chosen}; "
        f"{outcome.seconds:.2f} s CPU"
    )
    for law, errors in outcome.errors.items():
        equivalents = np.maximum(np.abs(np.expm1(errors)) / slope, LEAST_ERROR)
        weight = outcome.weights.get(law)
        print(
            f"  {law:18s} ratio {outcome.ratio(law):6.3f}  {100 * outcome.rms(law):6.2f} % of loss"
            f"  {np.sqrt(np.mean(equivalents**2)):6.3f} of compute"
            + ("" if weight is None else f"  weight {weight:.2f}")
        )


def sensitivity(sets: dict[str, Observations]) -> None:
    """Print the average's ratios on subsamples, at other cuts and without each law."""
    ratios = {name: list(subsampled(runs)) for name, runs in sets.items()}
    print(f"\n70 % subsamples, {SUBSAMPLES} a set:")
    for name, values in ratios.items():
        print(f"  {name:18s}", " ".join(f"{v:.2f}" for v in values))
    summary("70 % subsamples", [v for values in ratios.values() for v in values])
    for decades in (0.5, 1.5):
        cut = [split(runs, decades) for runs in sets.values()]
        usable = [measure(*pair) for pair in cut if len(pair[0]) >= 15]
        summary(f"top {decades} decades held out", [o.ratio("average") for o in usable])
    for law in ("chinchilla-tied", "coupled", "bounded-rational", "kaplan-floor", "farseer"):
        left = [measure(*split(runs), without=law).ratio("average") for runs in sets.values()]
        summary(f"without {law}", left)


def subsampled(runs: Observations) -> Iterator[float]:
    """Yield the average's ratio on 70 % of the runs seen, all runs held out."""
    seen, unseen = split(runs)
    for seed in range(SUBSAMPLES):
        rng = np.random.default_rng(seed)
        rows = np.sort(rng.choice(len(seen), round(0.7 * len(seen)), replace=False))
        yield measure(seen.take(rows), unseen).ratio("average")


def summary(title: str, ratios: list[float]) -> None:
    """Print the geometric mean of ratios and the worst."""
    mean = float(np.exp(np.mean(np.log(ratios))))
    print(f"{title:32s} geometric mean {mean:.3f}, worst {max(ratios):.3f} of {len(ratios)}")


if __name__ == "__main__":
    main()
