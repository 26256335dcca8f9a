"""Learning-rate and batch laws on the Step Law runs, leave-one-N-out; critical batch of Zhang 2024.

For every size of steplaw_dense the laws are fitted to all runs of the other sizes (form, scatter
and, without steplaw, every prior constant blind to the data) and recommend (lr, B) in each of its
horizons. Regret is read off the frozen smoothed surface of the cell. Intervals are held to the
surface: ln B* to its minimum, ln lr* to its ridge at the recommended batch; scored at 80 and 90 %
by coverage and interval score against plain least squares on the same cells' parabolas with
delta-method prediction intervals (the same laws, and Step Law's own form, powers of N and D).

The critical batch of the largest model is predicted from the smaller ones, by our law and by the
authors' (a line through the logs of their per-size fits).

    python -m tests.benchmarks.bench_transfer
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import least_squares
from scipy.stats import norm

from planner.arrays import Floats
from planner.fit.critical_batch import ZHANG, StepsToLoss, fit_critical_batch, fit_hyperbola
from planner.fit.hyper_fit import HyperFit
from planner.fit.priors import Priors
from planner.fit.regret import RegretSurface
from planner.fit.transfer import fit_hyper
from planner.run import Run, Status, Trial
from planner.shape import Size
from tests.benchmarks.regret_surface import frozen
from tests.benchmarks.steplaw import DATA, DIVERGED, SEQUENCE, dense

LEVELS = (0.8, 0.9)
CRITICAL = DATA / "critical_batch_size/steps_to_target.csv"


@dataclass(frozen=True)
class Said:
    """What one method recommends in one cell, in logs, with an sd for each."""

    lr: float
    lr_sd: float
    batch: float
    batch_sd: float


@dataclass(frozen=True)
class Score:
    """One method in one left-out cell."""

    method: str
    cell: tuple[float, float]
    regret: float
    miss: dict[str, tuple[float, float]]
    """lr and batch: error and sd, in logs."""


def runs_of(table: pd.DataFrame) -> list[Run]:
    """Return the table's rows as runs; learning rates on their x sqrt(2) grid."""
    runs = []
    for row in table.itertuples():
        lr = 2.0 ** (round(2 * np.log2(row.lr)) / 2)
        trial = Trial(
            stage="lr_batch",
            shape={"params": row.params},
            tokens=int(row.tokens),
            batch_tokens=int(row.bs * SEQUENCE),
            lr=lr,
            warmup_tokens=0,
        )
        diverged = row.loss > DIVERGED
        run = Run(
            trial=trial,
            key=trial.key({}),
            status=Status.DIVERGED if diverged else Status.DONE,
            loss=float("nan") if diverged else row.loss,
            loss_se=0.001,
            size=sized(row.params),
            tokens=int(row.tokens),
            spent_flops=6.0 * row.params * row.tokens,
        )
        runs.append(run)
    return runs


def sized(params: float) -> Size:
    """Return a size whose every count is the table's, FLOPs 6 N a token."""
    return Size(params, params, params, 6.0 * params)


def ours(fit: HyperFit, params: float, tokens: float) -> Said:
    """Return the recommendation of a fit and the sds of its 90 % intervals."""
    size = sized(params)
    batch = fit.batch(size, tokens)
    lr = fit.lr(size, tokens, batch.value)
    wide = 2 * norm.ppf(0.95)
    return Said(
        float(np.log(lr.value)),
        float(np.log(lr.high / lr.low) / wide),
        float(np.log(batch.value)),
        float(np.log(batch.high / batch.low) / wide),
    )


Law = Callable[[Floats, Floats], Floats]


def plain(law: Law, start: Sequence[float], where: Floats, y: Floats) -> Callable[[Floats], tuple]:
    """Fit by least squares; return a predictor (mean, sd) with the delta-method's prediction sd."""
    found = least_squares(lambda t: law(t, where) - y, start)
    variance = 2 * found.cost / max(1, len(y) - len(start))
    covariance = np.linalg.pinv(found.jac.T @ found.jac) * variance

    def predict(at: Floats) -> tuple[float, float]:
        steps = 1e-5 * np.eye(len(start))
        slope = np.array([(law(found.x + h, at) - law(found.x - h, at))[0] / 2e-5 for h in steps])
        return float(law(found.x, at)[0]), float(np.sqrt(slope @ covariance @ slope + variance))

    return predict


def saturating(theta: Floats, x: Floats) -> Floats:
    """Return a + p ln N + q ln D - ln(1 + B_s(D)/B); x holds centred ln N, ln D and ln B."""
    a, p, q, s, g = theta
    return a + p * x[:, 0] + q * x[:, 1] - np.logaddexp(0.0, s + g * x[:, 1] - x[:, 2])


def linear(theta: Floats, x: Floats) -> Floats:
    """Return theta . (1, x)."""
    return theta[0] + x @ theta[1:]


def least_squares_laws(fit: HyperFit) -> Iterator[tuple[str, Callable[[float, float], Said]]]:
    """Yield plain least squares on the parabolas' vertices: the saturating law, and Step Law's."""
    n0, d0 = fit.prior.params, fit.prior.tokens
    inside = [c for c in fit.cells if c.basin.interior]
    where = np.log([(c.params / n0, c.tokens / d0, c.batch_tokens) for c in inside])
    vertices = np.array([c.basin.vertex for c in inside])
    horizon = np.log([[s.tokens / d0] for s in fit.batch_sweeps])
    batch = plain(linear, [13, 0.5], horizon, np.array([s.basin.vertex for s in fit.batch_sweeps]))
    by_batch = plain(saturating, [-6, -0.5, 0.2, 12, 0.5], where, vertices)
    best: dict[tuple[float, float], int] = {}
    for index in sorted(range(len(inside)), key=lambda i: -inside[i].basin.floor):
        best[inside[index].params, inside[index].tokens] = index
    at_best = list(best.values())
    powers = plain(linear, [-6, -0.5, 0.2], where[at_best, :2], vertices[at_best])

    def same_law(params: float, tokens: float) -> Said:
        b = batch(np.log([[tokens / d0]]))
        return Said(*by_batch(np.array([[np.log(params / n0), np.log(tokens / d0), b[0]]])), *b)

    def step_form(params: float, tokens: float) -> Said:
        at = np.log([[params / n0, tokens / d0]])
        return Said(*powers(at), *batch(at[:, 1:]))

    yield "least squares, same laws", same_law
    yield "least squares, powers of N, D", step_form


def ridge(surface: RegretSurface, batch: float) -> float:
    """Return ln lr of the surface's lowest loss at a batch (in logs)."""
    grid = np.linspace(surface.hull[:, 0].min(), surface.hull[:, 0].max(), 601)
    return float(grid[surface.loss(np.exp(grid), np.exp(batch)).argmin()])


def judge(method: str, cell: tuple[float, float], said: Said, surface: RegretSurface) -> Score:
    """Price a recommendation and measure its errors in logs."""
    lr, batch = said.lr - ridge(surface, said.batch), said.batch - surface.best[1]
    regret = float(surface.regret(np.exp(said.lr), np.exp(said.batch)))
    return Score(method, cell, regret, {"lr": (lr, said.lr_sd), "batch": (batch, said.batch_sd)})


def leave_one_size_out() -> tuple[list[Score], list[str]]:
    """Return all scores, and a line on every fit of ours."""
    table = dense()
    surfaces, scores, lines = frozen(), [], []
    for params in sorted(table["params"].unique()):
        rest = table[table["params"] != params]
        places = [cell for cell in surfaces if np.isclose(cell[0], params, rtol=5e-3)]
        runs = runs_of(rest)
        for without in ((), ("steplaw",), ("all",)):
            prior = Priors.published(
                rest["params"].median(), rest["tokens"].median(), without=without
            )
            fit = fit_hyper(runs, prior=prior)
            name = f"ours without {without[0]}" if without else "ours"
            lines.append(f"  {params:.3g}  {name:22s} {described(fit)}")
            methods = [(name, lambda n, d, fit=fit: ours(fit, n, d))]
            if without == ("steplaw",):
                methods.extend(least_squares_laws(fit))
            for method, rule in methods:
                scores += [judge(method, cell, rule(*cell), surfaces[cell]) for cell in places]
    return scores, lines


def described(fit: HyperFit) -> str:
    """Return the held-out errors of the forms, the choice, and the shares of own data."""
    errors = ", ".join(f"{name} {error:.3f}" for name, error in fit.lr_forms.errors.items())
    return (
        f"left-out error of ln lr*: {errors}; used {fit.lr_forms.chosen}; scatter "
        f"{fit.lr_law.scatter:.2f} / {fit.batch_law.scatter:.2f}; own share lr "
        f"{fit.own_share:.0%}, batch {fit.own_share_batch:.0%}"
    )


def interval_score(error: Floats, sd: Floats, level: float) -> Floats:
    """Return width plus 2 / alpha times the miss, of normal intervals."""
    half = norm.ppf((1 + level) / 2) * sd
    return 2 * half + 2 / (1 - level) * np.maximum(np.abs(error) - half, 0)


def summary(scores: list[Score], title: str) -> None:
    """Print regret, coverage and interval score of every method."""
    print(f"\n{title}")
    for method in dict.fromkeys(score.method for score in scores):
        own = [score for score in scores if score.method == method]
        regret = np.array([score.regret for score in own])
        print(
            f"  {method:30s} regret median {np.median(regret):.4f}  mean {regret.mean():.4f}  ",
            end="",
        )
        print(f"largest {regret.max():.4f}  ({len(own)} cells)")
        for name in ("lr", "batch"):
            error, sd = np.array([score.miss[name] for score in own]).T
            parts = [f"    ln {name + '*':6s} rms error {np.sqrt((error**2).mean()):.3f}"]
            for level in LEVELS:
                held = int((np.abs(error) <= norm.ppf((1 + level) / 2) * sd).sum())
                mean = interval_score(error, sd, level).mean()
                parts.append(f"{level:.0%}: {held}/{len(own)}, interval score {mean:.3f}")
            print("   ".join(parts))


def critical_curves() -> tuple[list[StepsToLoss], Floats]:
    """Return one curve per size, and the published critical batches in sequences of 512."""
    curves, published = [], []
    for size, rows in pd.read_csv(CRITICAL).groupby("params_millions"):
        sequence = float(rows["seq_len"].iloc[0])
        batch = rows["batch_size_seqs"].to_numpy(float) * sequence
        tokens = float(rows["reference_steps"].iloc[0]) * 256 * sequence
        curves.append(
            StepsToLoss(size * 1e6, tokens, batch, rows["steps_to_target"].to_numpy(float))
        )
        published.append(float(rows["published_cbs_seqs"].iloc[0]))
    return curves, np.array(published)


def critical() -> None:
    """Print the published definition reproduced, and each size from the smaller ones."""
    curves, published = critical_curves()
    found = np.array([fit_hyperbola(c).critical(ZHANG).value / 512 for c in curves])
    print("\ncritical batch (Zhang 2024: 20 % more steps than in proportion from 256 sequences)")
    print(f"  published per size reproduced to {np.abs(found / published - 1).max():.1e}")
    size = np.log([curve.params for curve in curves])
    for known in range(2, len(curves)):
        line = np.polyfit(size[:known], np.log(published[:known]), 1)
        theirs = np.exp(np.polyval(line, size[known])) / published[known] - 1
        said = fit_critical_batch(curves[:known], ZHANG).at(
            curves[known].params, curves[known].tokens
        )
        low, value, high = (x / 512 for x in (said.low, said.value, said.high))
        print(
            f"  {curves[known].params:.3g} from the smaller {known}: {value:.0f} [{low:.0f}, "
            f"{high:.0f}], published {published[known]:.0f}: {value / published[known] - 1:+.1%}; "
            f"authors' form {theirs:+.1%}"
        )


def main() -> None:
    """Print everything; a sentence where the data are absent."""
    if not CRITICAL.exists():
        print(f"bench_transfer skipped: {DATA} is not beside the checkout")
        return
    scores, lines = leave_one_size_out()
    print("fits without one size (N left out, prior)", *lines, sep="\n")
    largest = [score for score in scores if score.cell[1] == 1e11 and score.cell[0] > 1e9]
    summary([s for s in scores if s not in largest], "17 cells of steplaw_dense, N left out")
    summary(largest, "cell X (1.074B, 100B), beyond the dense table")
    critical()


if __name__ == "__main__":
    main()
