"""What a replay may see, what it may spend, and what better policies come to."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from planner.fit.regret import fit_regret
from planner.sweep.replay.buy import buy
from planner.sweep.replay.joint import JointDesign, losses_at, recommend, regret, target_losses
from planner.sweep.replay.policies import CostRandomPolicy, GridPolicy, RandomPolicy
from planner.sweep.replay.pool import Policy, Pool, Seen, Target, cell_labels, pool_for, same_cell
from planner.sweep.replay.score import Study
from planner.sweep.search import TpePolicy
from tests.sweep.replay_world import TARGET, best, table

FLOPS = 6 * TARGET[0] * TARGET[1]
OF_TARGET = np.flatnonzero(same_cell(table().params, table().tokens, TARGET))
TESTED = Seen(*(getattr(table(), f.name)[OF_TARGET] for f in fields(Seen)))
POLICIES: tuple[Policy, ...] = (
    RandomPolicy(),
    CostRandomPolicy(),
    GridPolicy(),
    TpePolicy(),
    JointDesign("v-optimal", target_losses, "steplaw"),
    JointDesign("ours", regret, "steplaw"),
    JointDesign("predict", losses_at(TESTED), "steplaw", law=True),
)


def pool(cap: float = np.inf) -> Pool:
    return pool_for(table(), Target(*TARGET, FLOPS), cap)


def study(budget: float) -> Study:
    runs = table()
    here = same_cell(runs.params, runs.tokens, TARGET)
    surface = fit_regret(runs.lr[here], runs.batch_tokens[here], runs.loss[here])
    return Study(pool(), budget, surface)


@pytest.fixture(params=POLICIES, ids=lambda policy: policy.name)
def policy(request) -> Policy:
    return request.param


def test_the_target_is_never_offered_nor_anything_above_the_cap():
    there = pool(cap=0.02 * FLOPS)
    assert not same_cell(there.params, there.tokens, TARGET).any()
    assert there.flops.max() <= 0.02 * FLOPS
    assert len(there) == 6 * 42


def test_a_seed_draws_four_fifths_of_the_rows_and_always_the_same():
    drawn = [pool().drawn(seed) for seed in (1, 1, 2)]
    assert 0.7 < len(drawn[0]) / len(pool()) < 0.9
    np.testing.assert_array_equal(drawn[0].lr, drawn[1].lr)
    assert len(drawn[0]) != len(drawn[2]) or not np.array_equal(drawn[0].lr, drawn[2].lr)


def test_no_policy_spends_more_than_its_budget_and_diverged_runs_count(policy):
    budget = 0.2 * FLOPS
    bought = buy(pool(), policy, budget, seed=3)
    assert bought.flops <= budget
    assert bought.flops == pytest.approx(bought.seen.flops.sum())
    assert len(bought.seen) == sum(len(step.trials) for step in bought.rounds)
    cheapest = pool().flops.min()
    assert bought.flops > budget - 40 * cheapest, "a policy must use what it is given"


def test_the_same_seed_buys_the_same_rounds(policy):
    first, again = (buy(pool(), policy, 0.02 * FLOPS, seed=5) for _ in range(2))
    assert first.rounds == again.rounds


def test_a_run_is_bought_once(policy):
    rows = [
        trial.shape["row"]
        for step in buy(pool(), policy, 0.03 * FLOPS, seed=0).rounds
        for trial in step.trials
    ]
    assert len(rows) == len(set(rows))


def test_the_grid_finishes_the_cheapest_cell_before_it_begins_another():
    bought = buy(pool(), GridPolicy(), 50 * pool().flops.min(), seed=0).seen
    counts = np.bincount(cell_labels(bought.params, bought.tokens))
    assert counts[0] == 42


def test_cheap_runs_are_drawn_more_often_by_cost():
    plain, cheap = (
        np.mean([len(buy(pool(), p, 0.4 * FLOPS, seed).seen) for seed in range(5)])
        for p in (RandomPolicy(), CostRandomPolicy())
    )
    assert cheap > 1.3 * plain


def test_the_recommendation_is_the_planted_optimum_from_a_good_design():
    design = JointDesign("ours", regret, "steplaw")
    bought = buy(pool(), design, FLOPS, seed=0)
    found = recommend(bought.seen, Target(*TARGET, FLOPS), "steplaw")
    log_lr, log_batch = best(*(np.array([x]) for x in TARGET))
    assert abs(np.log(found.lr) - log_lr[0]) < 0.2
    assert abs(np.log(found.batch_tokens) - log_batch[0]) < 0.3
    assert found.lr_interval[90][0] < found.lr_interval[80][0] < np.exp(log_lr[0])
    assert found.lr_interval[90][1] > found.lr_interval[80][1] > np.exp(log_lr[0])


def test_without_priors_nothing_seen_means_nothing_known():
    seen = pool().seen(np.zeros(len(pool()), dtype=bool))
    found = recommend(seen, Target(*TARGET, FLOPS), "all")
    low, high = found.lr_interval[90]
    assert high / low > 30


def test_a_design_beats_chance_at_equal_cost_when_priors_are_off():
    scores = [
        study(0.4 * FLOPS).replay(p, recommend, "all", range(6))
        for p in (RandomPolicy(), JointDesign("ours", regret, "all"))
    ]
    chance, design = (score.quantile(0.5) for score in scores)
    assert design < 0.5 * chance
    assert scores[1].quantile(0.9) < 0.005


def test_a_score_says_all_the_contract_asks():
    said = study(0.02 * FLOPS).replay(CostRandomPolicy(), recommend, "", range(3)).to_json()
    assert len(said["regrets"]) == len(said["flops_used"]) == len(said["recommended"]) == 3
    assert said["median_regret"] <= said["p90_regret"]
    assert max(said["flops_used"]) <= 0.02 * FLOPS
    assert set(said["coverage"]) == {"lr", "batch"}
    assert set(said["coverage"]["lr"]) == {"80", "90"}
    assert set(said["recommended"][0]) == {"lr", "batch_tokens"}
