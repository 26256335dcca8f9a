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
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd

from planner.arrays import Floats
from planner.fit import engine
from planner.fit.law_fit import LawFit, fit_law
from planner.fit.laws import CHINCHILLA, Law
from planner.fit.loss_fit import LossFit
from planner.fit.points import Points
from planner.fit.registry import law_named
from planner.fit.select import candidates, fresh_weights
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


@dataclass(frozen=True)
class Outcome:
    """Errors of ln loss of the average, of the chosen law alone, and of Chinchilla's.

    ``covered`` is the share of runs inside the 90 % predictive interval, run-to-run noise included.
    """

    fit: LossFit
    errors: dict[str, Floats]
    covered: float
    seconds: float

    def ratio(self, name: str = "average") -> float:
        """Return the RMS error over that of Chinchilla's law fitted to every row alike."""
        return rms(self.errors[name]) / rms(self.errors["fixed"])


def rms(errors: Floats) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(errors**2)))


def measure(seen: Observations, unseen: Observations, without: str = "") -> Outcome:
    """Fit and select on ``seen``, one law left out if named, and score on ``unseen``."""
    laws = tuple(law for law in candidates(seen) if law.name != without)
    start = time.process_time()
    with patch.object(engine, "candidates", lambda _: laws):
        fit = engine.fit_loss(seen)
    seconds = time.process_time() - start
    where = unseen.params, unseen.tokens, unseen.flops
    log_loss = np.log(unseen.loss)
    low, high = np.quantile(np.log(fit.loss_draws(*where, run_noise=True)), [0.05, 0.95], axis=0)
    fixed = solve_to_scale(seen, CHINCHILLA)
    chosen = np.array(list(fit.params.values()))
    errors = {
        "average": np.log(np.median(fit.loss_draws(*where), axis=0)) - log_loss,
        "chosen": errors_of(law_named(fit.law), chosen, unseen),
        "fixed": errors_of(CHINCHILLA, fixed.solution.theta, unseen),
    }
    covered = float(np.mean((low <= log_loss) & (log_loss <= high)))
    return Outcome(fit, errors, covered, seconds)


def split(runs: Observations, decades: float = 1.0) -> tuple[Observations, Observations]:
    """Return the runs below and within the top decades of compute."""
    below = runs.flops <= runs.flops.max() / 10.0**decades
    return runs.take(below), runs.take(~below)


def main() -> None:
    """Print the table and its sensitivity."""
    if not DATA.is_dir():
        print(f"skipped: {DATA} is not there")
        return
    warnings.simplefilter("ignore", RuntimeWarning)
    sets = load()
    outcomes = {name: measure(*split(runs)) for name, runs in sets.items()}
    for name, runs in sets.items():
        report(name, runs, outcomes[name])
    summary("average", [o.ratio() for o in outcomes.values()])
    summary("chosen law alone", [o.ratio("chosen") for o in outcomes.values()])
    for name in outcomes:
        rest = [o.ratio() for other, o in outcomes.items() if other != name]
        summary(f"average, {name} left out", rest)
    if "--quick" not in sys.argv:
        sensitivity(sets)


def report(name: str, runs: Observations, outcome: Outcome) -> None:
    """Print one set: the average, the choice, and every law alone."""
    seen, unseen = split(runs)
    slope = compute_slope(name, runs, unseen)
    weights = {member.law: member.weight for member in outcome.fit.members}
    print(
        f"\n{name}: {len(seen)} runs seen, {len(unseen)} held out, {outcome.covered:.0%} of them "
        f"inside 90 %; 100 % of compute is {100 * np.median(slope):.1f} % of loss; chosen "
        f"{outcome.fit.law}; {outcome.seconds:.2f} s CPU"
    )
    errors = dict(outcome.errors)
    for law in candidates(seen):
        alone = solve_to_scale(seen, law, fresh_weights(seen))
        errors[law.name] = errors_of(law, alone.solution.theta, unseen)
    for law_name, error in errors.items():
        equivalents = np.maximum(np.abs(np.expm1(error)) / slope, LEAST_ERROR)
        print(
            f"  {law_name:18s} ratio {rms(error) / rms(errors['fixed']):6.3f}  "
            f"{100 * rms(error):6.2f} % of loss  {rms(equivalents):6.3f} of compute"
            + (f"  weight {weights[law_name]:.2f}" if law_name in weights else "")
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
        summary(f"top {decades} decades held out", [o.ratio() for o in usable])
    for law in ("chinchilla-tied", "coupled", "bounded-rational", "kaplan-floor", "farseer"):
        left = [measure(*split(runs), without=law).ratio() for runs in sets.values()]
        summary(f"without {law}", left)


def subsampled(runs: Observations) -> Iterator[float]:
    """Yield the average's ratio on 70 % of the runs seen, all runs held out."""
    seen, unseen = split(runs)
    for seed in range(SUBSAMPLES):
        rng = np.random.default_rng(seed)
        rows = np.sort(rng.choice(len(seen), round(0.7 * len(seen)), replace=False))
        yield measure(seen.take(rows), unseen).ratio()


def summary(title: str, ratios: list[float]) -> None:
    """Print the geometric mean of ratios and the worst."""
    mean = float(np.exp(np.mean(np.log(ratios))))
    print(f"{title:32s} geometric mean {mean:.3f}, worst {max(ratios):.3f} of {len(ratios)}")


if __name__ == "__main__":
    main()
