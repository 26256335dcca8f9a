"""The layout never exceeds the budget, and says what too little would need."""

from __future__ import annotations

import pytest

from planner.errors import BudgetError, SpaceError
from planner.proxy import ProxySpec, load_proxy
from planner.sweep.cells import Cell, trunk_groups
from planner.sweep.layout import RESERVE, ladder_cost, lay_out
from tests.studies import small_space

PROXY = load_proxy(ProxySpec("synthetic"))


@pytest.mark.parametrize("budget", ["2e13", "3e13", "1e14", "1e15"])
def test_worst_case_fits_the_budget(tmp_path, budget):
    space = small_space(tmp_path, f"budget.flops={budget}")
    layout = lay_out(space, PROXY)
    assert layout.worst_flops <= (1 - RESERVE) * space.budget.flops
    assert layout.flops <= layout.worst_flops
    assert layout.held_out_flops == 2 * layout.c_max


def test_more_budget_never_gives_a_smaller_ladder(tmp_path):
    tops = [
        lay_out(small_space(tmp_path, f"budget.flops={budget}"), PROXY).c_max
        for budget in ("2e13", "4e13", "8e13", "1.6e14")
    ]
    assert tops == sorted(tops)


def test_too_little_says_what_it_would_take(tmp_path):
    with pytest.raises(BudgetError, match="cannot pay for the smallest ladder") as error:
        lay_out(small_space(tmp_path, "budget.flops=1e11"), PROXY)
    needed = float(str(error.value).split("widest that takes ")[1].split()[0])
    assert lay_out(small_space(tmp_path, f"budget.flops={needed * 1.01}"), PROXY).ladder


def test_too_few_cells_is_a_matter_of_the_space(tmp_path):
    with pytest.raises(SpaceError, match="at least 8 cells over 3 sizes"):
        lay_out(small_space(tmp_path, "horizons.tokens_per_run=[1M]"), PROXY)


def test_a_weight_decay_sweep_costs_two_runs_at_the_anchor(tmp_path):
    layout = lay_out(small_space(tmp_path, "stages.weight_decay=on"), PROXY)
    price = next(stage for stage in layout.stages if stage.name == "weight_decay")
    assert (price.trials, price.flops) == (2, 2 * layout.anchor.flops)
    plain = lay_out(small_space(tmp_path), PROXY)
    assert "weight_decay" not in [stage.name for stage in plain.stages]


def test_a_proxy_that_cannot_fork_is_priced_for_whole_runs(tmp_path):
    class Plain(type(PROXY)):
        capabilities = frozenset()

    space = small_space(tmp_path, "budget.flops=1e15")
    assert _ladder_price(lay_out(space, Plain({}))) > 1.2 * _ladder_price(lay_out(space, PROXY))


def _ladder_price(layout):
    return next(stage.flops for stage in layout.stages if stage.name == "ladder")


def test_a_trunk_serves_horizons_within_a_factor_of_four():
    size = PROXY.size({"width": 16, "depth": 2})
    cells = [Cell({"width": 16}, size, tokens) for tokens in (1, 2, 4, 8, 16)]
    groups = [[cell.tokens for cell in group] for group in trunk_groups(cells, forks=True)]
    assert groups == [[16, 8, 4], [2, 1]]
    assert len(trunk_groups(cells, forks=False)) == 5


def test_forks_cost_less_than_whole_runs():
    size = PROXY.size({"width": 16, "depth": 2})
    cells = [Cell({"width": 16}, size, tokens) for tokens in (1000, 2000, 4000)]
    forked, _ = ladder_cost(cells, forks=True)
    whole, _ = ladder_cost(cells, forks=False)
    assert forked == pytest.approx(size.flops(4000 * 0.8 + 7000 * 0.2))
    assert whole == pytest.approx(size.flops(7000))
