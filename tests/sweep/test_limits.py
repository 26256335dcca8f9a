"""Clocks and money stop a sweep between trials, with a sentence, and lose nothing."""

from __future__ import annotations

import pytest

from planner.errors import BudgetError, SpaceError
from planner.ledger import Ledger
from planner.space import Budget
from planner.sweep.inline import InlineExecutor
from planner.sweep.limits import Limits
from planner.sweep.loop import prepare, run_sweep
from tests.studies import Silence, small_space


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["budget.gpu_hours=1e-9"], "device hours"),
        (["budget.wall=1e-9"], r"budget\.wall"),
        (
            ["budget.usd=1e-9", "target={usd: 1, gpu: h100, price: 2}"],
            "the trials have cost",
        ),
    ],
)
def test_a_clock_stops_the_sweep_and_what_ended_is_kept(tmp_path, overrides, says):
    setup = prepare(small_space(tmp_path, *overrides))
    with Ledger.open(tmp_path / "study") as ledger:
        with pytest.raises(BudgetError, match=says):
            run_sweep(setup, ledger, InlineExecutor, Silence())
        assert all(run.done for run in ledger.runs.values())


def test_a_budget_in_dollars_needs_a_price():
    with pytest.raises(SpaceError, match=r"target\.price"):
        Limits(Budget(flops=1e15, usd=5))
