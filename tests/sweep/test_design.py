import numpy as np

from planner.decide.recommend import aim
from planner.fit.surface import Surface
from planner.sweep.design import Candidates, design
from tests.fit.surface_world import CELLS, PRIOR, TARGET, World, grid


def plan(surface, rows, budget, at_least=None):
    candidates = Candidates.of(surface, rows, rows.flops, np.random.default_rng(0))
    root = aim(surface, *TARGET)
    return design(candidates, surface.covariance, root, budget=budget, at_least=at_least or budget)


def test_the_first_choice_is_a_contrast_and_cheap():
    rows = grid()
    first = plan(Surface.believed(PRIOR, CELLS), rows, 1e21)[0]
    a, b = first.rows
    assert (rows.params[a], rows.tokens[a]) == (rows.params[b], rows.tokens[b]) == (1e8, 2e9)
    assert (rows.lr[a], rows.batch_tokens[a]) != (rows.lr[b], rows.batch_tokens[b])


def test_the_budget_holds_and_no_run_is_chosen_twice():
    rows = grid()
    choices = plan(Surface.believed(PRIOR, CELLS), rows, 2e19)
    bought = [row for choice in choices for row in choice.rows]
    assert rows.flops[bought].sum() <= 2e19
    assert len(set(bought)) == len(bought) > 4
    assert plan(Surface.believed(PRIOR, CELLS), rows, 1e17) == []


def test_what_is_known_is_not_bought_again():
    world, rows = World(), grid()
    believed = Surface.believed(PRIOR, CELLS, sigma=0.002)
    informed = believed.given(rows, world.loss(rows, np.random.default_rng(0)))
    before, after = (plan(s, rows, 1e21, 1e18)[0] for s in (believed, informed))
    assert after.saves / after.flops < 0.05 * before.saves / before.flops


def test_runs_that_cannot_change_the_decision_are_worth_nothing():
    rows = grid()
    surface = Surface.believed(PRIOR, CELLS)
    candidates = Candidates.of(surface, rows, rows.flops, np.random.default_rng(0))
    root = np.zeros_like(aim(surface, *TARGET))
    chosen = design(candidates, surface.covariance, root, budget=1e21, at_least=1e18)
    assert all(choice.saves == 0 for choice in chosen)


def test_a_design_beats_as_many_flops_spent_at_random():
    """Regret after one design of 6e19 FLOPs against 20 random draws of the same cost."""
    world, rows = World(), grid()
    believed = Surface.believed(PRIOR, CELLS, sigma=0.002)
    root = aim(believed, *TARGET)

    def left(chosen):
        surface = believed
        some = type(rows)(*(getattr(rows, f)[chosen] for f in rows.__dataclass_fields__))
        surface = surface.given(some, world.loss(some, np.random.default_rng(0)))
        return float(np.trace(root @ surface.covariance @ root.T))

    ours = left([row for choice in plan(believed, rows, 6e19) for row in choice.rows])
    rng = np.random.default_rng(1)
    others = []
    for _ in range(20):
        order = rng.permutation(len(rows.lr))
        others.append(left(order[np.cumsum(rows.flops[order]) <= 6e19]))
    assert ours < 0.7 * np.median(others)


def test_a_choice_saves_what_the_trace_falls_by():
    """Every choice but the first is priced on covariances brought up to date run by run."""
    rows, surface = grid(), Surface.believed(PRIOR, CELLS)
    candidates = Candidates.of(surface, rows, rows.flops, np.random.default_rng(0))
    root = aim(surface, *TARGET)
    taken = []
    left = np.trace(root @ surface.covariance @ root.T)
    for choice in design(candidates, surface.covariance, root, budget=1e21, at_least=1e19):
        taken += choice.rows
        after = []
        for gradient, variance in zip(candidates.gradient, candidates.variance, strict=True):
            seen = gradient[taken]
            told = seen.T @ (seen / variance[taken][:, None])
            sigma = np.linalg.inv(np.linalg.inv(surface.covariance) + told)
            after.append(np.trace(root @ sigma @ root.T))
        assert np.isclose(choice.saves, left - np.mean(after), rtol=1e-4)
        left = np.mean(after)
    assert len(taken) > 4
