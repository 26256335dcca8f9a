"""Coverage of the 90 % intervals of ln lr* and ln B* over planted worlds; prints a table.

Worlds are drawn from the stated generative model: slopes p, q, g, r and curvatures from the priors,
levels within sd 1.5 of the published ones, scatter of cells and horizons, and drift per decade
beyond the cells. Each is swept at the anchor (N = 2e4, D = 1e6; 4-6 learning rates x2 apart at
batches x2 or x4 apart, noise .003-.01 nats), half of them with confirmation cells at (4N, D) and
(N, 4D).

    python tests/benchmarks/bench_hyper.py [worlds] [seed]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "fit"))

from hyper_world import World

from planner.estimate import Estimate
from planner.fit.hyper_fit import HyperFit
from planner.fit.optimum import Basin
from planner.fit.priors import Normal, Priors
from planner.fit.transfer import fit_hyper
from planner.shape import Size

N0, D0 = 2e4, 1e6
PRIOR = Priors.published(N0, D0)


def draw_world(rng: np.random.Generator) -> World:
    """Draw a world from the priors; B* kept inside what a sweep of 64-8192 tokens can find."""

    def one(belief: Normal) -> float:
        return float(belief.mean + belief.sd * rng.normal())

    log_batch = np.inf
    while not np.log(64) < log_batch < np.log(8192):
        log_batch = one(PRIOR.batch)
    return World(
        rng,
        log_lr=one(PRIOR.level),
        size_slope=one(PRIOR.size_slope),
        token_slope=one(PRIOR.token_slope),
        log_noise_batch=one(PRIOR.noise_batch),
        noise_batch_slope=one(PRIOR.noise_batch_slope),
        log_batch=float(log_batch),
        batch_slope=one(PRIOR.batch_slope),
        k_low=float(np.exp(one(PRIOR.log_k_low))),
        k_high=float(np.exp(one(PRIOR.log_k_high))),
        k_batch=float(np.exp(one(PRIOR.log_k_batch))),
        noise=float(rng.uniform(0.003, 0.01)),
        lr_scatter=PRIOR.lr_scatter,
        batch_scatter=PRIOR.batch_scatter,
        edge=float(rng.uniform(4, 30)),
    )


def sweep(world: World) -> HyperFit:
    """Sweep a world as the stages would; returns the fit."""
    rng = world.rng
    factor = rng.choice([2, 4])
    start = np.round(world.best_batch(N0, D0) / np.log(2) + rng.uniform(-1, 1)) - np.log2(factor)
    batches = [int(2 ** (start + i * np.log2(factor))) for i in range(-int(factor == 2), 3)]
    runs = world.anchor(batches, points=int(rng.integers(4, 7)))
    runs += [world.run(N0, int(D0), batches[1], 2.0**-6, seed=s) for s in range(1, 4)]
    if rng.random() < 0.5:
        for params, tokens in ((4 * N0, D0), (N0, 4 * D0)):
            centre = np.round(world.best_lr(params, tokens, batches[1]) / np.log(2))
            rates = 2.0 ** (centre + np.arange(-1, 2))
            runs += world.cell(params, int(tokens), batches[1], rates)
    return fit_hyper(runs)


def inside(estimate: Estimate, log_truth: float) -> tuple[bool, float, float]:
    """Return hit, log width of the interval, and log error of the value."""
    width = float(np.log(estimate.high / estimate.low))
    return estimate.contains(float(np.exp(log_truth))), width, np.log(estimate.value) - log_truth


def found(basin: Basin) -> Estimate:
    """Return a basin's optimum, no longer in logs."""
    return Estimate(*(float(np.exp(x)) for x in (basin.x, basin.low, basin.high)))


def judge(world: World, fit: HyperFit) -> dict[str, list[tuple[bool, float, float]]]:
    """Score every interval of one fit against its world."""
    rows: dict[str, list[tuple[bool, float, float]]] = {}
    rows["ln lr* of a cell"] = [
        inside(found(c.basin), world.best_lr(c.params, c.tokens, c.batch_tokens)) for c in fit.cells
    ]
    rows["ln B* at the anchor"] = [
        inside(found(s.basin), world.best_batch(s.params, s.tokens)) for s in fit.batch_sweeps
    ]
    for factor in (4.0, 100.0):
        scale = np.sqrt(factor)
        far = Size(scale * N0, scale * N0, scale * N0, 6 * scale * N0)
        tokens, batch = scale * D0, float(np.exp(world.log_batch))
        decades = max(0.0, np.log10(far.flops(tokens) / fit.flops[1]))
        lr_drift, batch_drift = world.rng.normal(size=2) * decades
        lr = world.best_lr(far.params_matmul, tokens, batch) + PRIOR.lr_drift * lr_drift
        best = world.best_batch(far.params_matmul, tokens) + PRIOR.batch_drift * batch_drift
        rows[f"ln lr* at {factor:.0f}x compute"] = [inside(fit.lr(far, tokens, batch), lr)]
        rows[f"ln B* at {factor:.0f}x compute"] = [inside(fit.batch(far, tokens), best)]
    return rows


def coverage(worlds: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Return, per kind of interval, rows of (hit, width, error) over all worlds."""
    scored: dict[str, list[tuple[bool, float, float]]] = {}
    for child in np.random.SeedSequence(seed).spawn(worlds):
        world = draw_world(np.random.default_rng(child))
        for name, rows in judge(world, sweep(world)).items():
            scored.setdefault(name, []).extend(rows)
    return {name: np.array(rows, dtype=float) for name, rows in scored.items()}


if __name__ == "__main__":
    count, first = (int(a) for a in (sys.argv[1:] + ["300", "0"][len(sys.argv) - 1 :])[:2])
    for name, rows in coverage(count, first).items():
        hit, width, error = rows[:, 0].mean(), np.median(rows[:, 1]), rows[:, 2]
        print(
            f"{name:24s} {len(rows):5d} cases  coverage {hit:.3f}  median width {width:.2f}  "
            f"rms error {np.sqrt((error**2).mean()):.2f}  median error {np.median(error):+.2f}"
        )
