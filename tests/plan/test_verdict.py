from __future__ import annotations

import pytest

from planner.finding import Finding, Severity
from planner.fit.held_out import Judgement
from planner.plan.plan import Colour, Verdict
from planner.plan.verdict import decide, extrapolation

GO, WARN, NO_GO = Verdict.GO, Verdict.WARNINGS, Verdict.NO_GO


def _judged(inside90=True, inside98=True, steps_off=0):
    return Judgement(
        inside90, inside98, (0.0,), 1, 1 + steps_off, steps_off, (0.1,), (0.01,), 1.0, None
    )


def _finding(severity):
    return Finding("planted", severity, "Something.")


@pytest.mark.parametrize(
    ("ratio", "colour"),
    [
        (0.5, Colour.GREEN),
        (100, Colour.GREEN),
        (101, Colour.AMBER),
        (1000, Colour.AMBER),
        (1001, Colour.RED),
    ],
)
def test_colours(ratio, colour):
    assert extrapolation(ratio * 1e18, 1e18).colour is colour


@pytest.mark.parametrize(
    ("ratio", "held_out", "status", "findings", "verdict", "rule"),
    [
        (50, _judged(), "converged", [], GO, None),
        (50, _judged(), "converged", [Severity.INFO], GO, None),
        (50, None, "converged", [], WARN, "held-out-none"),
        (50, _judged(inside90=False), "converged", [], WARN, "held-out-off"),
        (50, _judged(steps_off=1), "converged", [], GO, None),
        (50, _judged(False, False), "converged", [], NO_GO, "held-out-failed"),
        (50, _judged(steps_off=2), "converged", [], NO_GO, "held-out-failed"),
        (500, _judged(), "converged", [], WARN, "extrapolation"),
        (5000, _judged(), "converged", [], NO_GO, "extrapolation"),
        (50, _judged(), "at bound: beta", [], WARN, "law"),
        (50, _judged(), "not identified: beta", [], WARN, "law"),
        (50, _judged(inside90=False), "not identified: beta", [], NO_GO, "law"),
        (50, None, "not identified: beta", [], NO_GO, "law"),
        (50, _judged(), "converged", [Severity.WARNING], WARN, "warning: planted"),
        (50, None, "converged", [Severity.BLOCKING], NO_GO, "blocking: planted"),
    ],
)
def test_rules(ratio, held_out, status, findings, verdict, rule):
    reach = extrapolation(ratio * 1e18, 1e18)
    found, fired = decide(reach, held_out, status, [_finding(severity) for severity in findings])
    assert found is verdict
    assert (fired[0].name if fired else None) == rule
    assert all(entry.sentence.endswith((".", ")")) for entry in fired)
