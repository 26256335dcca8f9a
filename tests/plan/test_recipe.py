"""What the optimizer of a study's trials changes in its plan."""

from __future__ import annotations

import numpy as np
import pytest

from planner.decide.evidence import fit_hyper_of
from planner.plan.make import Evidence, make_plan
from planner.plan.objective import objective_from_options
from planner.plan.recipe import by_recipe
from planner.proxies._optim import recipe
from tests.fit.hyper_world import World
from tests.planted import planted_fit


def planned(found: dict[str, object]):
    runs = {"lr_batch": World(np.random.default_rng(0)).anchor()}
    hyper = fit_hyper_of(runs, found)
    plan = make_plan(
        Evidence(planted_fit(), hyper, findings=hyper.findings),
        objective_from_options({"flops": 1e21}),
    )
    return plan, by_recipe(plan, found), hyper


def test_what_every_run_held_fixed_replaces_the_rules_for_adamw():
    _, plan, _ = planned({"weight_decay": 5e-4, "optimizer": "sgd"})
    assert plan.decision("weight_decay").estimate.value == 5e-4
    assert "L2" in plan.decision("weight_decay").unit
    with pytest.raises(KeyError):
        plan.decision("beta2")


def test_a_plan_of_adamw_is_as_it_was():
    plan, same, hyper = planned(recipe("adamw"))
    assert same is plan
    assert "Step Law" in hyper.prior.source
    assert "published priors" in plan.decision("lr").estimate.method


def test_a_plan_of_muon_says_so_and_trusts_the_rule_of_adamw_less():
    plain, plan, _ = planned(recipe("muon"))
    names = [decision.name for decision in plan.decisions]
    assert names.index("momentum") == names.index("lr") + 1
    assert plan.decision("momentum").estimate.value == 0.95
    assert "12 bytes" in plan.decision("momentum").reason
    assert "RMS of 0.2" in plan.decision("lr").reason
    assert "Muon has none" in plan.decision("beta2").reason
    rule, wide = (p.decision("weight_decay").estimate for p in (plain, plan))
    assert wide.value == rule.value
    assert wide.high / wide.low == pytest.approx(4 * rule.high / rule.low)
    assert "assumed" in plan.decision("weight_decay").reason


def test_muon_believes_in_no_law_of_adamw():
    _, plan, hyper = planned(recipe("muon"))
    assert hyper.prior.source.startswith("no published law of AdamW holds for muon")
    assert hyper.prior.level.sd >= 2.0
    assert "wide priors" in plan.decision("lr").estimate.method
    assert "batch-rule" in {finding.code for finding in hyper.findings}
    nothing = fit_hyper_of({}, recipe("muon"))
    (said,) = (f.what for f in nothing.findings if f.code == "lr-prior-only")
    assert "published" not in said
