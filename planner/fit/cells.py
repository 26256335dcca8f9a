"""Runs that differ in their learning rate alone form a cell; cells of one horizon, a batch sweep.

    cell:    L(lr) at one shape, tokens, batch, warmup          -> ln lr* and the loss at it
    horizon: the cells' lowest losses against ln B              -> ln B*

Together they are the profile form of L(lr, B) = L0 + k_B ln^2(B/B*) + k ln^2(lr/lr*(B)): every
batch is judged at its own best learning rate, and no form of lr*(B) is needed for B*.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np

from planner.fit.optimum import Basin, Density, Points, locate
from planner.fit.priors import Priors
from planner.run import Run, Status

TOLERANCE = 0.002
"""Loss differences below this (nats), or below twice the seed noise, are ties."""


@dataclass(frozen=True, slots=True)
class Cell:
    """The learning-rate basin at one shape, tokens, batch and warmup; x of the basin is ln lr."""

    params: float
    params_non_embedding: float
    tokens: float
    batch_tokens: float
    warmup_tokens: float
    flops: float
    basin: Basin
    tested: tuple[float, float]
    """Lowest and highest learning rate tried."""
    keys: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the cell as plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read a cell back from plain data."""
        read = dict(data) | {"basin": Basin.from_json(data["basin"])}
        return cls(**(read | {name: tuple(data[name]) for name in ("tested", "keys")}))


@dataclass(frozen=True, slots=True)
class SeedNoise:
    """sd of one run's loss in nats, and the degrees of freedom behind it."""

    sd: float
    df: float

    @property
    def tolerance(self) -> float:
        """Return the loss difference below which two runs tie."""
        return max(2 * self.sd, TOLERANCE)


@dataclass(frozen=True, slots=True)
class BatchSweep:
    """The batch basin at one size and horizon; x of the basin is ln batch_tokens."""

    params: float
    tokens: float
    basin: Basin
    tested: tuple[float, ...]
    """The batches tried, rising."""

    def to_json(self) -> dict[str, Any]:
        """Return the sweep as plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read a sweep back from plain data."""
        read = {"basin": Basin.from_json(data["basin"]), "tested": tuple(data["tested"])}
        return cls(**(dict(data) | read))


def usable(runs: Sequence[Run]) -> list[Run]:
    """Keep decayed runs that ended by themselves: wsd, done or diverged; in the order of keys.

    So a fit depends on the set of runs, to the last bit, and not on who finished first.
    """
    ended = (Status.DONE, Status.DIVERGED)
    kept = [r for r in runs if r.trial.schedule.name == "wsd" and r.status in ended]
    return sorted(kept, key=lambda run: run.key)


def seed_noise(runs: Sequence[Run]) -> SeedNoise | None:
    """Pool the variance of finished runs that differ in their seed alone; None without any."""
    groups: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        if run.done and run.trial.parent is None:
            groups[replace(run.trial, seed=0).key({})].append(run.loss)
    replicated = [np.array(losses) for losses in groups.values() if len(losses) > 1]
    df = sum(len(losses) - 1 for losses in replicated)
    if not df:
        return None
    squares = sum(float(np.sum((losses - losses.mean()) ** 2)) for losses in replicated)
    return SeedNoise(float(np.sqrt(squares / df)), df)


def noise_of_one_run(measured: SeedNoise | None, prior: Priors) -> SeedNoise:
    """Average the replicates' variance with the prior belief, each by its degrees of freedom."""
    own, belief = measured or SeedNoise(0.0, 0), SeedNoise(prior.seed_noise, prior.seed_noise_df)
    df = own.df + belief.df
    return SeedNoise(float(np.sqrt((own.df * own.sd**2 + belief.df * belief.sd**2) / df)), df)


def group_cells(runs: Sequence[Run]) -> list[list[Run]]:
    """Group usable runs into cells of three learning rates or more, two of them finished.

    Weight decay may follow the learning rate by rule, so it does not split a cell.
    """
    groups: dict[Hashable, list[Run]] = defaultdict(list)
    for run in runs:
        trial = run.trial
        shape = json.dumps(dict(trial.shape), sort_keys=True, default=str)
        same = (shape, trial.tokens, trial.batch_tokens, trial.warmup_tokens, trial.beta2)
        groups[same].append(run)
    return [group for group in groups.values() if _is_cell(group)]


def find_cells(runs: Sequence[Run], prior: Priors, noise: SeedNoise) -> tuple[Cell, ...]:
    """Locate ln lr* in every cell of usable runs."""
    cells = [_cell(group, prior, noise) for group in group_cells(runs)]
    return tuple(sorted(cells, key=lambda c: (c.params, c.tokens, c.batch_tokens)))


def batch_sweeps(
    cells: Sequence[Cell], prior: Priors, noise: SeedNoise
) -> tuple[tuple[BatchSweep, Density], ...]:
    """Locate ln B* at every size and horizon with two batches or more, with its whole density."""
    groups: dict[tuple[float, float], dict[float, Cell]] = defaultdict(dict)
    for cell in sorted(cells, key=lambda c: -c.basin.floor):
        groups[cell.params, cell.tokens][cell.batch_tokens] = cell
    varied = {place: tuple(found.values()) for place, found in groups.items() if len(found) > 1}
    return tuple(_sweep(varied[place], prior, noise) for place in sorted(varied))


def _is_cell(group: Sequence[Run]) -> bool:
    rates = {run.trial.lr for run in group}
    return len(rates) >= 3 and len({run.trial.lr for run in group if run.done}) >= 2


def _cell(group: Sequence[Run], prior: Priors, noise: SeedNoise) -> Cell:
    lr = np.array([run.trial.lr for run in group])
    loss = np.array([run.loss if run.done else np.nan for run in group])
    basin, _ = locate(
        Points(np.log(lr), loss, np.full(len(lr), noise.sd), noise.df),
        (prior.log_k_low, prior.log_k_high),
        tolerance=noise.tolerance,
        sides=prior.sides,
    )
    first = group[0]
    return Cell(
        params=first.size.params_matmul,
        params_non_embedding=first.size.params_non_embedding,
        tokens=float(first.trial.tokens),
        batch_tokens=float(first.trial.batch_tokens),
        warmup_tokens=float(first.trial.warmup_tokens),
        flops=first.size.flops(first.trial.tokens),
        basin=basin,
        tested=(float(lr.min()), float(lr.max())),
        keys=tuple(sorted(run.key for run in group)),
    )


def _sweep(cells: Sequence[Cell], prior: Priors, noise: SeedNoise) -> tuple[BatchSweep, Density]:
    batch = np.array([cell.batch_tokens for cell in cells])
    floors = np.array([cell.basin.floor for cell in cells])
    floor_sd = np.array([cell.basin.floor_sd for cell in cells])
    basin, density = locate(
        Points(np.log(batch), floors, floor_sd, noise.df + sum(len(c.keys) for c in cells)),
        (prior.log_k_batch, prior.log_k_batch),
        tolerance=noise.tolerance,
        sides=prior.sides,
    )
    tested = tuple(float(b) for b in np.sort(batch))
    return BatchSweep(cells[0].params, cells[0].tokens, basin, tested), density
