"""Faults of scaling-law tables, planted in a sound one at the size they have in life.

``size`` multiplies a fault: 1 is its natural size. Each function takes a World and returns the
spoilt table; codes are the findings the fault is known by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from planner.arrays import Floats
from planner.fit.laws import CHINCHILLA, optimal_params
from planner.observations import Observations
from tests.fit.clean_worlds import World

BASIN = 0.0165
"""Nats per squared ln of a learning rate's error (science A)."""
Plant = Callable[[World, float], Observations]


@dataclass(frozen=True)
class Kind:
    """A fault: its name, how it is planted, the codes that catch it, whether its size can vary."""

    name: str
    plant: Plant
    codes: tuple[str, ...]
    scaled: bool = True


def raised(data: Observations, relative: Floats) -> Observations:
    return replace(data, loss=data.loss * np.exp(relative))


def some(w: World, share: float) -> np.ndarray:
    """Pick a share of the rows at random, two at least."""
    count = max(2, round(share * len(w.data)))
    return np.isin(np.arange(len(w.data)), w.rng.choice(len(w.data), count, replace=False))


def rung(w: World) -> np.ndarray:
    """Pick one size of a ladder, one level of a grid, or a sixth of the scattered sizes."""
    d = w.data
    if w.design == "ladder":
        return d.params == w.rng.choice(np.unique(d.params))
    if w.design == "isoflop":
        level = np.round(np.log(d.params * d.tokens) / 0.7)
        return level == w.rng.choice(np.unique(level))
    order = np.argsort(np.argsort(d.params)) * 6 // len(d)
    return order == w.rng.integers(6)


def without(data: Observations, *names: str) -> Observations:
    blank = {
        name: np.full(len(data), "" if getattr(data, name).dtype.kind == "U" else np.nan)
        for name in names
    }
    return replace(data, **blank)


def bare(data: Observations) -> Observations:
    """Leave N, D, C and loss."""
    return without(
        data,
        *("lr", "batch_tokens", "warmup_tokens", "seed", "unique_tokens", "schedule"),
        *("final_lr_ratio", "decay_ratio", "status", "width", "depth"),
    )


def remade(w: World, params: Floats, tokens: Floats) -> Observations:
    """Return a table of other runs from the same law."""
    loss = CHINCHILLA.predict(w.truth, params, tokens)
    loss = loss * np.exp(w.noise * w.rng.standard_normal(len(params)))
    names, unknown = tuple(f"run-{i:02d}" for i in range(len(params))), np.full(len(params), np.nan)
    return Observations(
        *(params, tokens, 6.0 * params * tokens, loss, unknown, unknown, unknown, names, names)
    )


def outliers(w: World, size: float) -> Observations:
    rows = w.rng.choice(len(w.data), w.rng.integers(1, 4), replace=False)
    shift = np.zeros(len(w.data))
    shift[rows] = size * w.rng.uniform(0.04, 0.1, len(rows)) * w.rng.choice([-1, 1, 1], len(rows))
    return raised(w.data, shift)


def gross_outliers(w: World, size: float) -> Observations:
    """Five of 245 points moved the published D / N by a factor of three: runs at the top of C."""
    top = np.argsort(w.data.flops)[-max(6, len(w.data) // 4) :]
    rows = w.rng.choice(top, 3, replace=False)
    shift = np.zeros(len(w.data))
    shift[rows] = size * w.rng.uniform(0.05, 0.1, 3) * w.rng.choice([-1, 1])
    return raised(w.data, shift)


def unconverged(w: World, size: float) -> Observations:
    rows = some(w, 0.12)
    return raised(bare(w.data), rows * size * w.rng.uniform(0.04, 0.12, len(w.data)))


def crashed(w: World, size: float) -> Observations:
    rows = some(w, 0.12)
    data = raised(w.data, rows * size * w.rng.uniform(0.01, 0.05, len(w.data)))
    return replace(data, status=np.where(rows, "crashed", data.status))


def untuned_rung(w: World, size: float) -> Observations:
    """One rung at a learning rate 6 to 12 times off."""
    rows = rung(w)
    off = np.log(w.rng.uniform(6, 12)) * w.rng.choice([-1, 1]) * np.sqrt(size)
    data = raised(w.data, rows * BASIN * off**2 / w.data.loss)
    return replace(data, lr=data.lr * np.exp(rows * off))


def untuned_rung_unseen(w: World, size: float) -> Observations:
    return bare(untuned_rung(w, size))


def untuned_rows(w: World, size: float) -> Observations:
    """Learning rates drawn at random instead of tuned."""
    off = np.sqrt(size) * w.rng.uniform(-1, 1, len(w.data)) * np.log(8)
    data = raised(w.data, BASIN * off**2 / w.data.loss)
    return replace(data, lr=data.lr * np.exp(off))


def one_lr(w: World, size: float) -> Observations:
    """The rate tuned at one size serves all; the best one falls as N^-.5."""
    x = np.log(w.data.params)
    off = 0.5 * (x - w.rng.choice(x))
    data = raised(w.data, size * BASIN * off**2 / w.data.loss)
    return replace(data, lr=np.full(len(x), 2e-3))


def one_warmup(w: World, size: float) -> Observations:
    """A warmup of fixed tokens, 25 to 60 % of the shortest run."""
    warmup = w.rng.uniform(0.25, 0.6) * w.data.tokens.min()
    data = raised(w.data, size * 0.05 * (warmup / w.data.tokens) ** 1.5)
    return replace(data, warmup_tokens=np.full(len(data), warmup))


def mixed_schedules(w: World, size: float) -> Observations:
    rows = some(w, 0.3)
    data = raised(w.data, rows * size * 0.008)
    return replace(data, schedule=np.where(rows, "linear", data.schedule))


def undecayed(w: World, size: float) -> Observations:
    rows = some(w, 0.3)
    data = raised(w.data, rows * size * w.rng.uniform(0.015, 0.03))
    return replace(data, final_lr_ratio=np.where(rows, 1.0, data.final_lr_ratio))


def undecayed_unseen(w: World, size: float) -> Observations:
    return bare(undecayed(w, size))


def repeated(w: World, size: float) -> Observations:
    """Up to 4 to 12 epochs in the longest runs; repeats are worth less (Muennighoff)."""
    d = w.data
    unique = d.tokens.max() / w.rng.uniform(4, 12) / size
    epochs = np.maximum(d.tokens / unique, 1.0)
    worth = unique * (1.0 - 15.39 * np.expm1(-(epochs - 1.0) / 15.39))
    worth = np.where(epochs > 1, worth, d.tokens)
    change = CHINCHILLA.predict(w.truth, d.params, worth)
    change = change / CHINCHILLA.predict(w.truth, d.params, d.tokens)
    return replace(raised(d, np.log(change)), unique_tokens=np.full(len(d), unique))


def short_runs(w: World, size: float) -> Observations:
    """The shortest runs take 200 to 800 steps, and lie above the law (science I3)."""
    d = w.data
    steps = w.rng.uniform(200, 800)
    data = raised(d, size * w.rng.uniform(0.03, 0.08) * (d.tokens.min() / d.tokens))
    return replace(data, batch_tokens=np.full(len(d), d.tokens.min() / steps))


def short_runs_unseen(w: World, size: float) -> Observations:
    return bare(short_runs(w, size))


def embeddings_in_some(w: World, size: float) -> Observations:
    rows, d = some(w, 0.4), w.data
    return replace(d, params=d.params + rows * size * 50257.0 * d.width)


def embeddings_unseen(w: World, size: float) -> Observations:
    """The same without shapes, C counted as 6 N D from whatever N says."""
    data = bare(embeddings_in_some(w, size))
    return replace(data, flops=6.0 * data.params * data.tokens)


def flops_two_ways(w: World, size: float) -> Observations:
    d, rows = w.data, some(w, 0.5)
    attention = 12.0 * d.depth * d.width * 2048.0 * d.tokens
    return replace(d, flops=6.0 * d.params * d.tokens + rows * attention)


def sequences(w: World, size: float) -> Observations:
    """Some rows, or all of them, count sequences of 2048 tokens."""
    d = w.data
    rows = some(w, 0.3) if w.rng.random() < 0.5 else np.full(len(d), True)
    data = replace(d, tokens=np.where(rows, d.tokens / 2048.0, d.tokens))
    return data if w.rng.random() < 0.5 else replace(data, flops=6.0 * data.params * data.tokens)


def millions(w: World, size: float) -> Observations:
    d = w.data
    rows = some(w, 0.3) if w.rng.random() < 0.5 else np.full(len(d), True)
    data = replace(d, params=np.where(rows, d.params / 1e6, d.params))
    return data if w.rng.random() < 0.5 else replace(data, flops=6.0 * data.params * data.tokens)


def bits(w: World, size: float) -> Observations:
    rows = some(w, w.rng.uniform(0.15, 0.5))
    return raised(w.data, -np.log(np.log(2.0)) * rows)


def decimal_digits(w: World, size: float) -> Observations:
    rows = some(w, w.rng.uniform(0.15, 0.5))
    return raised(w.data, -np.log(np.log(10.0)) * rows)


def overflow(w: World, size: float) -> Observations:
    """6 N D in 64-bit integers."""
    exact = [6 * int(n) * int(d) for n, d in zip(w.data.params, w.data.tokens, strict=True)]
    wrapped = [(value + 2**63) % 2**64 - 2**63 for value in exact]
    return replace(w.data, flops=np.array(wrapped, dtype=float))


def copies(w: World, size: float) -> Observations:
    twice = np.flatnonzero(some(w, 0.25))
    return w.data.take(np.r_[np.arange(len(w.data)), twice])


def same_seeds(w: World, size: float) -> Observations:
    """Replicates that were started with one seed: they differ by the machine's noise alone."""
    twice = np.flatnonzero(some(w, 0.25))
    data = w.data.take(np.r_[np.arange(len(w.data)), twice])
    jitter = np.r_[np.zeros(len(w.data)), 1e-5 * w.rng.standard_normal(len(twice))]
    names = tuple(f"run-{i:02d}" for i in range(len(data)))
    return replace(raised(data, jitter), key=names, group=names)


def checkpoints(w: World, size: float) -> Observations:
    """Eight checkpoints of each of six cosine runs, read before the decay, all but the last."""
    n = np.geomspace(1e8, 2.5e9, 6)
    count = 8
    params, share = np.repeat(n, count), np.tile(2.0 ** np.arange(1.0 - count, 1.0), 6)
    tokens = 60.0 * params * share
    data = remade(w, params, tokens)
    run = np.repeat(np.arange(6), count)
    shared = w.noise * (2.0 * w.rng.standard_normal(6)[run]) + 0.02 * (1.0 - share)
    data = raised(data, shared)
    lr = 3e-3 * (params / 1e8) ** -0.5
    data = replace(data, lr=lr, seed=np.zeros(len(lr)), batch_tokens=np.full(len(lr), 2.0**18))
    if w.rng.random() < 0.5:
        return replace(data, warmup_tokens=0.01 * 60.0 * params)
    return replace(
        data, key=tuple(f"gpt-{r}/step-{t:.0f}" for r, t in zip(run, tokens / 2**18, strict=True))
    )


def uneven_noise(w: World, size: float) -> Observations:
    small = w.data.flops < np.median(w.data.flops)
    return raised(w.data, small * w.noise * w.rng.uniform(4, 6) * w.rng.standard_normal(len(small)))


def narrow(w: World, size: float) -> Observations:
    n = optimal_params(w.truth, 1e19) * np.geomspace(0.6, 1.7, 5)
    return remade(w, np.repeat(n, 4), np.outer(20.0 * n, [0.7, 1, 1.4, 2]).ravel())


def few_sizes(w: World, size: float) -> Observations:
    n = np.geomspace(1e8, 2e9, w.rng.integers(2, 4))
    return remade(w, np.repeat(n, 6), np.outer(n, 5.0 * 2.0 ** np.arange(6)).ravel())


def few_horizons(w: World, size: float) -> Observations:
    n = np.geomspace(5e7, 3e9, 7)
    return remade(w, np.repeat(n, 2), np.tile([4e9, 4e10], 7))


def collinear(w: World, size: float) -> Observations:
    n = np.geomspace(5e7, 5e9, 20)
    return remade(w, n, 20.0 * n * np.exp(0.1 * w.rng.standard_normal(20)))


def edge_of_grid(w: World, size: float) -> Observations:
    """IsoFLOP levels whose sizes all lie below (or above) the best."""
    side = w.rng.choice([-1.0, 1.0])
    c = np.repeat(1e18 * 4.0 ** np.arange(5), 6)
    n = np.concatenate([optimal_params(w.truth, x) for x in 1e18 * 4.0 ** np.arange(5)], axis=None)
    params = np.repeat(n, 6) * np.tile(np.geomspace(1.5, 12, 6) ** side, 5)
    return remade(w, params, c / 6.0 / params)


def six_models(w: World, size: float) -> Observations:
    """Six models over one decade: beta came out at .65 (fitting.md)."""
    n = np.geomspace(1e8, 4e8, 6)
    return remade(w, n, 20.0 * n * np.array([1.0, 1.5, 0.7, 1.4, 0.8, 1.2]))


def sweep_rows(w: World, size: float) -> Observations:
    """Three learning rates at a third of the runs, all kept."""
    rows = np.flatnonzero(some(w, 0.35))
    n = len(w.data)
    data = w.data.take(np.r_[np.arange(n), rows, rows])
    off = np.r_[np.zeros(n), np.full(len(rows), -np.log(4)), np.full(len(rows), np.log(4))]
    names = tuple(f"run-{i:02d}" for i in range(len(data)))
    data = raised(data, size * np.where(off > 0, 1.6, 1.0) * BASIN * 1.3 * off**2 / data.loss)
    noise = w.noise * w.rng.standard_normal(len(data)) * (off != 0)
    return replace(raised(data, noise), lr=data.lr * np.exp(off), key=names, group=names)


RESIDUAL = ("outliers", "two-populations", "rung-high", "trend-in-params", "trend-in-tokens")
KINDS = (
    Kind("outliers", outliers, ("outliers", "two-populations")),
    Kind("huber sensitivity", gross_outliers, ("huber-sensitive", "outliers"), scaled=False),
    Kind("runs not converged", unconverged, ("outliers", "two-populations", "uneven-noise")),
    Kind("crashed runs, status", crashed, ("unfinished-runs",)),
    Kind("untuned rung", untuned_rung, ("lr-off-trend", "trend-in-lr", *RESIDUAL)),
    Kind("untuned rows", untuned_rows, ("trend-in-lr", "lr-off-trend")),
    Kind("one lr for all sizes", one_lr, ("lr-not-scaled",)),
    Kind("fixed warmup", one_warmup, ("long-warmup",)),
    Kind("mixed schedules", mixed_schedules, ("mixed-schedules",)),
    Kind("undecayed losses", undecayed, ("undecayed",)),
    Kind("repeated data", repeated, ("repeated-tokens",)),
    Kind("short runs", short_runs, ("few-steps",)),
    Kind("embeddings in some rows", embeddings_in_some, ("n-mixed", "flops-mixed")),
    Kind("flops two ways", flops_two_ways, ("flops-mixed",), scaled=False),
    Kind("tokens in sequences", sequences, ("units-tokens", "units-flops"), scaled=False),
    Kind("params in millions", millions, ("units-params", "units-flops"), scaled=False),
    Kind("bits in some rows", bits, ("units-loss",), scaled=False),
    Kind("digits in some rows", decimal_digits, ("units-loss",), scaled=False),
    Kind("int64 overflow", overflow, ("flops-overflow", "too-thin"), scaled=False),
    Kind("copied rows", copies, ("duplicate-rows",), scaled=False),
    Kind("seeds repeated", same_seeds, ("duplicate-seeds",), scaled=False),
    Kind("checkpoints as runs", checkpoints, ("clustered-rows",), scaled=False),
    Kind("uneven noise", uneven_noise, ("uneven-noise",), scaled=False),
    Kind("sweep kept whole", sweep_rows, ("sweep-rows",)),
    Kind("narrow range", narrow, ("narrow-range",), scaled=False),
    Kind("few sizes", few_sizes, ("few-sizes",), scaled=False),
    Kind("few horizons", few_horizons, ("few-horizons",), scaled=False),
    Kind("collinear", collinear, ("collinear",), scaled=False),
    Kind("edge of the grid", edge_of_grid, ("one-sided",), scaled=False),
    Kind("six models, one decade", six_models, ("narrow-range", "not-identified"), scaled=False),
)
UNSEEN = (
    Kind("untuned rung", untuned_rung_unseen, RESIDUAL),
    Kind("undecayed losses", undecayed_unseen, RESIDUAL),
    Kind("short runs", short_runs_unseen, RESIDUAL),
    Kind("embeddings in some rows", embeddings_unseen, ("n-mixed", *RESIDUAL)),
)
"""The same without the columns that name them: the residuals alone must tell."""
