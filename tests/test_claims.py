"""What the plan hears of a parametrisation's claim: from check.json and from its own runs."""

from __future__ import annotations

import json

from planner.claims import claim_findings
from planner.finding import Finding, Severity
from tests.check.test_transfer import swept


def test_sp_claims_nothing(tmp_path):
    assert claim_findings(tmp_path, swept(-0.8), 1e6, "sp") == []


def test_a_learning_rate_that_moves_blocks_the_plan(tmp_path):
    (found,) = claim_findings(tmp_path, swept(-0.8), 1e6, "mup")
    assert found.severity is Severity.BLOCKING


def test_what_the_coordinate_check_found_is_not_lost(tmp_path):
    told = Finding("coordinate-check-width", Severity.WARNING, "Activations grow.", "mend them")
    other = Finding("lr-transfer", Severity.WARNING, "Nothing was swept when this was checked.")
    findings = [one.to_json() for one in (told, other)]
    (tmp_path / "check.json").write_text(json.dumps({"findings": findings}))
    found = claim_findings(tmp_path, swept(0.0), 1e6, "mup")
    assert found[0] == told
    assert [one.code for one in found] == ["coordinate-check-width", "lr-transfer"]
    assert found[1].severity is Severity.INFO
