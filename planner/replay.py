"""A published table under the real loop: `planner replay`, how a change of policy is judged.

The target's cell is taken out of the table, its own runs are smoothed to a regret surface, and a
policy buys proxy runs from the rest until the budget is gone (contracts.md sections 1 and 6).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from planner.arrays import Flags
from planner.errors import UsageError
from planner.fit.regret import fit_regret
from planner.fitting import emit, tell
from planner.observations import Observations
from planner.sweep.replay.joint import JointDesign, recommend, regret, target_losses
from planner.sweep.replay.policies import CostRandomPolicy, GridPolicy, RandomPolicy
from planner.sweep.replay.pool import Policy, Pool, Seen, Target, cell_labels, pool_for, same_cell
from planner.sweep.replay.score import Score, Study
from planner.sweep.search import TpePolicy
from planner.units import format_flops, parse_multiple

FAR_ABOVE = 1.5
"""A run whose loss is this many times the lowest of its cell diverged, whatever its status: among
3,000 Step Law runs sound losses end at 1.29 times and diverged ones begin at 1.70."""

POLICIES: dict[str, Callable[[str], Policy]] = {
    "ours": lambda without: JointDesign("ours", regret, without),
    "random": lambda _: RandomPolicy(),
    "cost-random": lambda _: CostRandomPolicy(),
    "grid": lambda _: GridPolicy(),
    "v-optimal": lambda without: JointDesign("v-optimal", target_losses, without),
    "tpe": lambda _: TpePolicy(),
}
"""By name; each is made with the name of the priors it must do without."""

PRIORS = ("steplaw", "all")


@dataclass(frozen=True)
class ReplayOptions:
    """The options of ``planner replay``; budget and cap are multiples of one target run."""

    target: str
    budget: str
    max_proxy: str | None = None
    policy: str = "ours"
    without_prior: str | None = None
    seeds: int = 10
    where: str | None = None
    maps: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse names nobody knows."""
        if self.policy not in POLICIES:
            raise UsageError(
                f"there is no policy named {self.policy!r}; known: {', '.join(POLICIES)}"
            )
        if self.without_prior not in (None, *PRIORS):
            raise UsageError(
                f"--without-prior {self.without_prior!r} names no prior; known: {', '.join(PRIORS)}"
            )
        if self.seeds < 1:
            raise UsageError(f"--seeds {self.seeds} replays nothing; give 1 or more")


def replay_command(paths: Sequence[Path], options: ReplayOptions, *, as_json: bool) -> None:
    """Replay a table and print the regrets of what would have been recommended."""
    study = study_of(paths, options)
    policy = POLICIES[options.policy](options.without_prior or "")
    score = study.replay(policy, recommend, options.without_prior or "", range(options.seeds))
    head = _head(study, options)
    emit(json.dumps(head | score.to_json()) if as_json else _text(head, study, score))


def study_of(paths: Sequence[Path], options: ReplayOptions) -> Study:
    """Read tables and set the question up. Raises UsageError where there is nothing to replay."""
    from planner.table import read_attempts

    table = read_attempts(paths, options.maps, options.where)
    for row, reason in table.dropped:
        tell(f"dropped {row}: {reason}")
    runs = _once(table.observations)
    _check_columns(runs)
    chosen = read_attempts(paths, options.maps, _both(options.where, options.target)).observations
    here, target = _target(runs, chosen, options.target)
    surface = fit_regret(runs.lr[here], runs.batch_tokens[here], runs.loss[here])
    budget = parse_multiple(options.budget) * target.flops
    cap = parse_multiple(options.max_proxy) * target.flops if options.max_proxy else np.inf
    pool = pool_for(_paid(runs), target, min(cap, budget))
    _check_pool(pool, _paid(runs).flops[~here], options)
    return Study(pool, budget, surface)


def _both(where: str | None, target: str) -> str:
    return target if where is None else f"{where} and {target}"


def _once(runs: Observations) -> Observations:
    """Drop rows that repeat another in every column of a run: tables overlap."""
    columns = [runs.params, runs.tokens, runs.batch_tokens, runs.lr, runs.loss]
    digits = np.nan_to_num(np.round(np.log(np.stack(columns, axis=1)), 3), nan=-1.0)
    _, first = np.unique(digits, axis=0, return_index=True)
    if len(first) < len(runs):
        tell(f"note: {len(runs) - len(first)} rows repeat another run and count once")
    return runs.take(np.sort(first))


def _check_columns(runs: Observations) -> None:
    """Refuse a table without lr or batch."""
    for name in ("lr", "batch_tokens"):
        known = np.isfinite(getattr(runs, name))
        if not known.all():
            raise UsageError(
                f"{int((~known).sum())} of {len(runs)} rows have no `{name}`; a replay decides "
                f"about lr and batch. Name the column with --map 'theirs={name}' (sequences: "
                "'theirs*2048=batch_tokens'), or leave the rows out with --where"
            )


def _target(runs: Observations, chosen: Observations, query: str) -> tuple[Flags, Target]:
    """Return the mask of the target's cell and the target; the query must name one cell."""
    cells = cell_labels(chosen.params, chosen.tokens)
    if cells.max() > 0:
        raise UsageError(
            f"--target '{query}' selects {cells.max() + 1} cells of (params, tokens); name one, as "
            f"in 'params == {chosen.params[0]:.6g} and tokens == {chosen.tokens[0]:.6g}'"
        )
    n, d = float(np.median(chosen.params)), float(np.median(chosen.tokens))
    target = Target(n, d, float(np.median(chosen.flops)))
    return same_cell(runs.params, runs.tokens, (n, d)), target


def _paid(runs: Observations) -> Seen:
    """Return the runs as a sweep would have seen them: a diverged one has no loss."""
    cells = cell_labels(runs.params, runs.tokens)
    lowest = np.full(cells.max() + 1, np.inf)
    np.minimum.at(lowest, cells, np.where(np.isfinite(runs.loss), runs.loss, np.inf))
    diverged = (runs.status == "diverged") | ~(runs.loss <= FAR_ABOVE * lowest[cells])
    loss = np.where(diverged, np.nan, runs.loss)
    return Seen(runs.params, runs.tokens, runs.batch_tokens, runs.lr, runs.flops, loss)


def _check_pool(pool: Pool, proxies: np.ndarray, options: ReplayOptions) -> None:
    """Refuse a replay that could buy nothing."""
    if len(pool):
        return
    if not len(proxies):
        raise UsageError("every row of the table belongs to the target; a replay needs proxies")
    cheapest = proxies.min() / pool.target.flops
    raise UsageError(
        f"nothing can be bought: the cheapest proxy costs {cheapest:.3g}x of the target run "
        f"({format_flops(pool.target.flops)}), above --budget {options.budget}"
        + (f" or --max-proxy {options.max_proxy}" if options.max_proxy else "")
    )


def _head(study: Study, options: ReplayOptions) -> dict[str, Any]:
    target = study.pool.target
    return {
        "schema_version": 1,
        "policy": options.policy,
        "without_prior": options.without_prior,
        "target": {"params": target.params, "tokens": target.tokens, "flops": target.flops},
        "budget_flops": study.budget,
        "proxy_rows": len(study.pool),
        "target_minimum_loss": study.surface.least,
    }


def _text(head: dict[str, Any], study: Study, score: Score) -> str:
    """Say in lines how the policy did."""
    lr, batch = np.exp(study.surface.best)
    covered = score.coverage()
    lines = [
        f"{head['policy']} on {head['proxy_rows']} proxy rows, {len(score.regrets)} seeds, budget "
        f"{format_flops(study.budget)}: {np.median(score.runs):.0f} runs, "
        f"{format_flops(float(np.median(score.flops_used)))} spent (medians)",
        f"  regret of the recommended lr and batch: median {score.quantile(0.5):.4f}, 90th "
        f"percentile {score.quantile(0.9):.4f} nats; the target's best is lr {lr:.3g}, batch "
        f"{batch:.3g} tokens at loss {study.surface.least:.4f}",
    ]
    for name, shares in covered.items():
        told = ", ".join(f"{share:.0%} of {level} %" for level, share in shares.items())
        lines.append(f"  {name} intervals that hold it: {told}")
    return "\n".join(lines)
