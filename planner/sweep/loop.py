"""The sweep: run the open round, ask for the next, until every stage is satisfied.

    while step := next round: ledger += executor.run(step)

Killed at any moment, the same call goes on from the ledger and ends at the same plan (contracts.md
section 2). What must not steer the policy is in :mod:`planner.sweep.rounds`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from planner._secrets import hide_data, secrets_of
from planner.decide.evidence import loss_runs
from planner.decide.standing import Standing, standing
from planner.errors import EvidenceError
from planner.fit.held_out import Prediction
from planner.ledger import Ledger
from planner.proxy import Proxy, ProxySpec, load_proxy
from planner.run import Round
from planner.space import SearchSpace
from planner.sweep.checkpoints import Checkpoints, needed_states
from planner.sweep.events import Executor
from planner.sweep.layout import Layout, lay_out
from planner.sweep.limits import Approval, Limits
from planner.sweep.policy import POLICY_VERSION, next_round, wants_prediction
from planner.sweep.rounds import Bench, RoundRunner
from planner.sweep.stages import held_out
from planner.sweep.state import Memory, StudyState
from planner.sweep.timeouts import Vigil
from planner.sweep.watch import Watch
from planner.sweep.worth import DEFAULT_REACH


@dataclass(frozen=True)
class Setup:
    """What a search space becomes before the first trial: pure, and the same on every resume."""

    space: SearchSpace
    spec: ProxySpec
    proxy: Proxy
    recipe: Mapping[str, Any]
    layout: Layout

    def bench(self, folder: Path) -> Bench:
        """Return what its rounds are run on, for a study in ``folder``."""
        url = self.space.checkpoints and f"{self.space.checkpoints}/{self.space.study}"
        managed = bool(self.proxy.capabilities & {"resume", "fork"})
        minutes = self.space.executor.hang_minutes
        return Bench(
            self.spec,
            self.proxy,
            self.recipe,
            self.space.executor.name,
            Checkpoints(folder / "checkpoints", url, managed=managed),
            Vigil(None if minutes is None else 60 * minutes),
            self.space.executor,
        )


def prepare(space: SearchSpace) -> Setup:
    """Lay the budget out and prepare the proxy's data.

    Raises BudgetError, SpaceError or DataError with what would be right.
    """
    spec = ProxySpec(space.proxy.name, dict(space.data), dict(space.proxy.options))
    layout = lay_out(space, load_proxy(spec))
    data = dict(space.data) | {"tokens_needed": layout.tokens_needed}
    spec = ProxySpec(space.proxy.name, data, dict(space.proxy.options))
    proxy = load_proxy(spec)
    secrets = secrets_of(space.proxy.options)
    recipe = hide_data({"proxy": space.proxy.name, **proxy.recipe()}, secrets)
    return Setup(space, spec, proxy, recipe, layout)


def state_of(setup: Setup, ledger: Ledger, memory: Memory | None = None) -> StudyState:
    """Read the ledger as the policy sees it; ``memory`` is that of the study's earlier states."""
    return StudyState(
        setup.space,
        setup.proxy,
        setup.recipe,
        setup.layout,
        ledger.rounds,
        ledger.runs,
        None if ledger.prediction is None else Prediction.from_json(ledger.prediction),
        memory or Memory(),
    )


def run_sweep(
    setup: Setup,
    ledger: Ledger,
    make_executor: Callable[[], Executor],
    watch: Watch,
    approval: Approval | None = None,
) -> StudyState:
    """Run rounds until every stage is satisfied, and return the final state.

    Raises BudgetError when the next trial does not fit the budget, a clock has run out or a round
    is not approved, TooManyFailuresError when more than half of a round failed, KeyboardInterrupt
    when asked to stop; what has ended is safe in the ledger in every case.
    """
    executor: Executor | None = None
    memory, bench = Memory(), setup.bench(ledger.folder)
    for run in ledger.runs.values():
        bench.vigil.learn(run)
    limits = Limits(setup.space.budget, setup.space.price, approval)
    try:
        while True:
            state = state_of(setup, ledger, memory)
            step = _open_round(state) or next_round(state)
            if step is None and wants_prediction(state):
                ledger.predicted(held_out.predict(state, ledger.hash()).to_json())
                continue
            if step is None:
                bench.checkpoints.keep_only(())
                return state
            if step.number > len(state.rounds):
                ledger.decided(step, POLICY_VERSION)
            bench.checkpoints.keep_only(needed_states(ledger, step, state.keys_of(step)))
            if executor is None:
                bench.checkpoints.probe()
                executor = make_executor()
            RoundRunner(bench, ledger, executor, watch, limits).run(step)
            told = _standing(state_of(setup, ledger, memory))
            ledger.learned(step.number, told.to_json())
            watch.round_ends(step, told)
    finally:
        if executor is not None:
            executor.close()


def _standing(state: StudyState) -> Standing:
    """Return what is still doubtful at the target, for people to see."""
    flops = state.space.target.get("flops") or DEFAULT_REACH * state.layout.c_max
    fit = None
    if any(run.done for run in loss_runs(state.runs_by_stage)):
        with suppress(EvidenceError):
            fit = state.loss
    return standing(state.hyper, fit, flops)


def _open_round(state: StudyState) -> Round | None:
    """Return the last decided round if some of its trials have not ended."""
    if not state.rounds:
        return None
    last = state.rounds[-1]
    return last if any(key not in state.runs for key in state.keys_of(last)) else None
