from __future__ import annotations

import json

import pytest

from planner.errors import UsageError
from planner.explain import SOURCES, explanation


@pytest.mark.parametrize("name", SOURCES)
def test_every_decision_explains_itself(name):
    head, text = explanation(name).split("\n\n", 1)
    assert head.startswith(name)
    assert len(text) > 80


def test_every_decision_of_a_plan_can_be_asked_about(finished):
    plan = json.loads((finished / "plan.json").read_text())
    assert {decision["name"] for decision in plan["decisions"]} <= SOURCES.keys()


def test_an_unknown_name_lists_the_known():
    with pytest.raises(UsageError, match="there is: batch_tokens, best_schedule, beta2"):
        explanation("everything")
