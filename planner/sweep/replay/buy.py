"""One replay of one seed: closed rounds until the policy stops or nothing affordable is left.

Each round is a pure function of the set bought so far (its rng is made of the seed and the number
of the round), and the sweep's own :class:`planner.sweep.loop.RoundRunner` runs it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.decide.standing import Standing
from planner.means import Budget
from planner.proxy import ProxySpec
from planner.run import Round, Run, Trial
from planner.sweep.events import Died, Progress
from planner.sweep.limits import Limits
from planner.sweep.replay.executor import MemoryLedger, TableExecutor, TableProxy, whole
from planner.sweep.replay.pool import Policy, Pool, Seen
from planner.sweep.rounds import Bench, RoundRunner

ROUNDING = 1e-9
"""Share of the budget that is left alone, so that no sum of costs exceeds it in its last bits."""


@dataclass(frozen=True)
class Purchase:
    """What a policy bought in one replay; ``flops`` sums all of it, diverged runs included."""

    seen: Seen
    rounds: tuple[Round, ...]
    flops: float


class Silent:
    """Watches without a word."""

    def round_begins(self, step: Round, waiting: int, spent: float) -> None:
        """Say nothing."""

    def progress(self, event: Progress, trial: Trial) -> None:
        """Say nothing."""

    def died(self, event: Died, trial: Trial) -> None:
        """Say nothing."""

    def ended(self, run: Run, spent: float) -> None:
        """Say nothing."""

    def round_ends(self, step: Round, known: Standing) -> None:
        """Say nothing."""


def buy(pool: Pool, policy: Policy, budget: float, seed: int) -> Purchase:
    """Let a policy spend a budget (FLOPs) on a pool, and return what it bought."""
    proxy, ledger = TableProxy(pool), MemoryLedger()
    limits = Limits(Budget(flops=budget))
    bench = Bench(ProxySpec("table"), proxy, proxy.recipe(), "table")
    runner = RoundRunner(bench, ledger, TableExecutor(proxy), Silent(), limits)
    while (step := _next_round(pool, ledger, policy, budget, seed)) is not None:
        ledger.decided(step, policy.name)
        runner.run(step)
    return Purchase(pool.seen(_bought(pool, ledger)), ledger.rounds, ledger.spent_flops)


def _next_round(
    pool: Pool, ledger: MemoryLedger, policy: Policy, budget: float, seed: int
) -> Round | None:
    """Return what the policy buys next, cut to what it can pay; None when that is nothing."""
    left = budget * (1.0 - ROUNDING) - ledger.spent_flops
    bought = _bought(pool, ledger)
    offer = pool.offer(bought, left)
    if not len(offer):
        return None
    number = len(ledger.rounds) + 1
    rng = np.random.default_rng([seed, number])
    wanted = policy.propose(offer, pool.seen(bought), pool.target, left, rng)
    rows = []
    for row in dict.fromkeys(offer.index[wanted].tolist()):
        if pool.flops[row] <= left:
            rows.append(row)
            left -= float(pool.flops[row])
    if not rows:
        return None
    trials = tuple(_trial(pool, row) for row in rows)
    return Round(number, "replay", trials, f"{policy.name} buys {len(rows)} runs")


def _bought(pool: Pool, ledger: MemoryLedger) -> np.ndarray:
    """Return the mask (n,) of rows the ledger holds."""
    mask = np.zeros(len(pool), dtype=bool)
    mask[[run.trial.shape["row"] for run in ledger.runs.values()]] = True
    return mask


def _trial(pool: Pool, row: int) -> Trial:
    lr, batch = float(pool.lr[row]), whole(pool.batch_tokens[row])
    return Trial("replay", {"row": row}, whole(pool.tokens[row]), batch, lr, warmup_tokens=0)
