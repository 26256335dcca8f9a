"""How a budget is laid out over the stages, and the largest ladder it can pay for.

The ladder's largest run C_max is the largest cell of sizes x horizons for which

    finder + lr_batch + seeds + confirm + warmup + weight_decay + ladder(C_max) + held_out(C_max)
        <= .97 * budget

holds with every stage at its *worst case* (grids extended as far as they may), so the budget can
never be exceeded; the last 3 % pay for attempts lost to crashes. The held-out rung costs sizes x
compute x C_max and dominates (science H, "shares that add up").

All of this is a function of the search space and the proxy's sizes alone: neither results nor
clocks move it, so a resumed sweep lays out the same ladder.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from planner.errors import BudgetError, SpaceError
from planner.proxy import Proxy
from planner.run import LARGEST, UNIQUE
from planner.space import SearchSpace
from planner.sweep.cells import Cell, by_size, cells_of, trunk_groups

RESERVE = 0.03
"""Share of the budget kept for attempts that are lost to crashes."""

MIN_CELLS, MIN_SIZES = 8, 3
"""The smallest ladder worth paying for: five parameters and a residual, over three sizes."""

FINDER_SEEDS, FINDER_STEPS = 3, 300
"""Range tests per study, and steps of each (science A1: 3 seeds, at least 300 steps)."""

COARSE, FINE = 3, 2
"""Learning rates per batch on the x4 grid, and the x2 neighbours added at the best batch."""

EXTRA_LR, EXTRA_BATCHES = 2, 1
"""How far a grid may extend itself: learning rates per batch, batches in all."""

CONFIRM_LRS, CONFIRM_EXTRA = 3, 1
"""Learning rates of the confirmation, and how many more an edge may ask for."""

CONFIRM_SHARE = 0.7
"""Most a confirmation run may cost, in C_max: three are about an eighth of the budget."""

MOST_TPP = 110.0
"""Most tokens per parameter of a ladder run (science H: branches up to 60-80; compute-optimal is
about 20). Tiny models flatten far beyond it, and an additive law that has to follow them there
predicts larger ones too high: 1.7 % instead of .9 % and 1.7 instead of .6 % on two studies."""


@dataclass(frozen=True, slots=True)
class StagePrice:
    """What a stage is expected to cost, and what it costs at worst."""

    name: str
    trials: int
    flops: float
    worst_flops: float


@dataclass(frozen=True, slots=True)
class Layout:
    """The stages a budget pays for; ``c_max`` is the ladder's largest C."""

    anchor: Cell
    confirm: Cell | None
    ladder: tuple[Cell, ...]
    held_out_flops: float
    stages: tuple[StagePrice, ...]
    tokens_needed: int

    @property
    def c_max(self) -> float:
        """C of the largest ladder run."""
        return max(cell.flops for cell in self.ladder)

    @property
    def flops(self) -> float:
        """Expected cost of the whole sweep."""
        return sum(stage.flops for stage in self.stages)

    @property
    def worst_flops(self) -> float:
        """Cost when every grid extends itself as far as it may."""
        return sum(stage.worst_flops for stage in self.stages)


def lay_out(space: SearchSpace, proxy: Proxy) -> Layout:
    """Solve C_max from the budget. Raises BudgetError with what the smallest ladder would take."""
    cells = cells_of(space, proxy)
    limit = (1 - RESERVE) * space.budget.flops
    levels = sorted({cell.flops for cell in cells if in_ladder(cell)})
    able = proxy.capabilities
    layout = None
    for level in reversed(levels):
        if not _is_ladder(cells, level):
            break  # nor is any smaller one
        layout = _layout(space, able, cells, level)
        if layout.worst_flops <= limit:
            return layout
    if layout is None:
        raise SpaceError(
            f"the search space holds {len(cells)} cells of size x horizon; a ladder needs at least "
            f"{MIN_CELLS} cells over {MIN_SIZES} sizes, each at most {MOST_TPP:g} tokens per "
            "parameter: add sizes or horizons.tokens_per_run"
        )
    needed = layout.worst_flops / (1 - RESERVE)
    raise BudgetError(
        f"the budget of {space.budget.flops:.3g} FLOPs cannot pay for the smallest ladder: "
        f"with its held-out rung and every grid at its widest that takes {needed:.3g} FLOPs "
        f"({layout.flops:.3g} expected); raise budget.flops, or take smaller sizes or "
        "shorter horizons"
    )


def finder_batch(space: SearchSpace) -> int:
    """Return the batch of the range test: the smallest, a bracket need not cost more."""
    return batches(space)[0]


def batches(space: SearchSpace) -> list[int]:
    """Return the batches of the grid as powers of two, rising."""
    return sorted({2 ** round(math.log2(batch)) for batch in space.batch_tokens.values()})


def confirm_flops(cell: Cell) -> float:
    """Return the most a confirmation at a cell may cost."""
    return (CONFIRM_LRS + CONFIRM_EXTRA) * cell.flops


def in_ladder(cell: Cell) -> bool:
    """Say whether a cell's horizon suits a ladder."""
    return cell.tokens <= MOST_TPP * cell.size.params_matmul


def _ladder(cells: Sequence[Cell], level: float) -> list[Cell]:
    """Return the cells a ladder up to ``level`` FLOPs trains."""
    return [cell for cell in cells if cell.flops <= level and in_ladder(cell)]


def _on_less_data(space: SearchSpace, able: frozenset[str], ladder: Sequence[Cell]) -> list[Cell]:
    """Return the ladder's cells once more for every smaller data set there is to be."""
    if space.horizons.unique and "subset" not in able:
        raise SpaceError(
            f"horizons.unique asks for runs on part of the data, which the proxy "
            f"{space.proxy.name} cannot do (capability `subset`): remove it"
        )
    return [
        replace(cell, shape={**cell.shape, UNIQUE: unique})
        for unique in space.horizons.unique
        for cell in ladder
    ]


def _is_ladder(cells: Sequence[Cell], level: float) -> bool:
    ladder = _ladder(cells, level)
    sizes = {cell.size.params_matmul for cell in ladder}
    return len(ladder) >= MIN_CELLS and len(sizes) >= MIN_SIZES


def _layout(
    space: SearchSpace, able: frozenset[str], cells: Sequence[Cell], level: float
) -> Layout:
    whole = _ladder(cells, level)
    ladder = (*whole, *_on_less_data(space, able, whole))
    sizes = by_size(cells)
    anchor = min(sizes[min(1, len(sizes) - 1)], key=lambda cell: cell.tokens)
    confirm = _confirm_cell(whole, anchor) if space.stages.confirm else None
    held_out = space.stages.held_out
    held_out_flops = held_out.compute * level if held_out else 0.0
    second = sizes[min(1, len(sizes) - 1)][0].size
    longest = max(held_out_flops / second.flops_per_token, *(cell.tokens for cell in ladder))
    if not longest < LARGEST:
        raise SpaceError(
            f"the longest run would train {longest:.3g} tokens: check budget.flops, "
            "stages.held_out.compute and what the sizes state of FLOPs per token"
        )
    return Layout(
        anchor=anchor,
        confirm=confirm,
        ladder=ladder,
        held_out_flops=held_out_flops,
        stages=tuple(_prices(space, able, (anchor, confirm), ladder, held_out_flops)),
        tokens_needed=math.ceil(longest),
    )


def _confirm_cell(ladder: Sequence[Cell], anchor: Cell) -> Cell | None:
    """Pick the largest size, then the longest horizon, a confirmation may cost.

    Size first: the exponent of lr in N is the least known of the law, and the target's size is the
    farthest from the anchor's.
    """
    most = CONFIRM_SHARE * max(cell.flops for cell in ladder) * (1 + 1e-9)
    beyond = [
        cell
        for cell in ladder
        if cell.size.params_matmul > anchor.size.params_matmul
        and cell.tokens >= anchor.tokens
        and cell.flops <= most
    ]
    return max(beyond, key=lambda cell: (cell.size.params_matmul, cell.tokens), default=None)


def _prices(
    space: SearchSpace,
    able: frozenset[str],
    grids: tuple[Cell, Cell | None],
    ladder: Sequence[Cell],
    held_out_flops: float,
) -> list[StagePrice]:
    anchor, confirm = grids
    on, one = space.stages, anchor.flops
    batch_count = len(batches(space))
    found: list[StagePrice] = []

    def add(name: str, trials: int, each: float, extra: int = 0) -> None:
        found.append(StagePrice(name, trials, trials * each, (trials + extra) * each))

    if on.finder and "finder" in able:
        tokens = FINDER_STEPS * finder_batch(space)
        add("finder", FINDER_SEEDS, anchor.size.flops(tokens))
    if on.lr_batch:
        more = EXTRA_LR * (batch_count + EXTRA_BATCHES) + COARSE * EXTRA_BATCHES
        add("lr_batch", COARSE * batch_count + FINE, one, more)
    if on.seeds > 1:
        add("seeds", on.seeds - 1, one)
    if confirm is not None:
        found.append(_confirmation(confirm, designed=on.confirm == "design"))
    if on.warmup:
        add("warmup", 2, one)
    if on.weight_decay:
        add("weight_decay", 2, one)
    if on.ladder:
        cost, trials = ladder_cost(ladder, space.horizons.forks and "fork" in able)
        found.append(StagePrice("ladder", trials, cost, cost))
    if on.held_out:
        add("held_out", on.held_out.sizes, held_out_flops)
    return found


def _confirmation(cell: Cell, *, designed: bool) -> StagePrice:
    """Price the confirmation at a cell, or the design that may cost as much instead."""
    most = CONFIRM_LRS + CONFIRM_EXTRA
    worst = confirm_flops(cell)
    if designed:
        return StagePrice("design", most, worst, worst)
    return StagePrice("confirm", CONFIRM_LRS, CONFIRM_LRS * cell.flops, worst)


def ladder_cost(ladder: Sequence[Cell], forks: bool, decay_ratio: float = 0.2) -> tuple[float, int]:
    """FLOPs and trials of a ladder: a trunk to the longest cooldown, then one branch a horizon."""
    flops, trials = 0.0, 0
    for cells in by_size(ladder):
        for group in trunk_groups(cells, forks):
            branches = [decay_ratio * cell.flops for cell in group]
            trunk = (1 - decay_ratio) * group[0].flops
            flops += trunk + sum(branches)
            trials += 1 if len(group) == 1 else 1 + len(group)
    return flops, trials
