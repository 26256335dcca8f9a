"""A study is resumed as the one it was, and can be asked where it stands at any moment."""

from __future__ import annotations

import json
import signal

import pytest

from planner.campaign import print_next, print_prices, run_campaign
from planner.errors import LedgerError
from planner.status import print_status
from planner.study import read_study
from tests.studies import small_space


@pytest.fixture(autouse=True)
def _handler():
    """Undo the campaign's handler of SIGTERM."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def rewind(folder, stage):
    """Cut the log back to before a stage was decided."""
    lines = (folder / "events.jsonl").read_text().splitlines(keepends=True)
    events = [json.loads(line) for line in lines]
    decided = [e["event"] == "decided" and e["round"]["stage"] == stage for e in events]
    (folder / "events.jsonl").write_text("".join(lines[: decided.index(True)]))


def test_a_study_taken_up_again_ends_at_the_same_plan(copied, tmp_path, capsys):
    before = (copied / "plan.json").read_text()
    rewind(copied, "ladder")
    run_campaign(small_space(tmp_path), copied, report=False)
    assert (copied / "plan.json").read_text() == before
    assert capsys.readouterr().out.startswith(json.loads(before)["headline"])


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("seed=1", "seed differ"),
        ("lr.factor=4", "lr differ"),
        ("budget.flops=4e13", r"budget\.flops differ"),
    ],
)
def test_another_search_space_is_refused(copied, tmp_path, override, says):
    with pytest.raises(LedgerError, match=says):
        run_campaign(small_space(tmp_path, override), copied, report=False)


def test_workers_and_target_may_change(copied, tmp_path):
    other = small_space(tmp_path, "executor.workers=2", "target={flops: 1e16}")
    run_campaign(other, copied, report=False)
    assert json.loads((copied / "plan.json").read_text())["flops"] == pytest.approx(1e16, rel=0.2)


def test_data_or_packages_that_changed_since_are_refused(copied, tmp_path):
    env = json.loads((copied / "env.json").read_text())
    env["recipe"]["noise"] = 0.5
    (copied / "env.json").write_text(json.dumps(env))
    with pytest.raises(LedgerError, match="another recipe: noise changed"):
        run_campaign(small_space(tmp_path), copied, report=False)


def test_the_next_round_is_named_with_its_price(copied, capsys):
    rewind(copied, "ladder")
    print_next(copied, as_json=False)
    first, *more = capsys.readouterr().out.splitlines()
    assert " ladder: " in first
    trials = [line for line in more if line.endswith(" FLOPs")]
    print_next(copied, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert len(told["round"]["trials"]) == len(trials)
    assert told["worth"], "a grid has been trained: further runs are ranked"


def test_a_study_that_waits_for_its_prediction_says_so(copied, capsys):
    lines = (copied / "events.jsonl").read_text().splitlines(keepends=True)
    predicted = next(i for i, line in enumerate(lines) if json.loads(line)["event"] == "predicted")
    (copied / "events.jsonl").write_text("".join(lines[:predicted]))
    print_next(copied, as_json=False)
    assert "waits for the prediction" in capsys.readouterr().out


def test_status_counts_what_has_ended(copied, capsys):
    whole = read_study(copied).ledger
    rewind(copied, "ladder")
    print_status(copied, audit=True, as_json=True)
    facts = json.loads(capsys.readouterr().out)
    assert 0 < facts["spent_flops"] < whole.spent_flops
    assert 0 < sum(facts["trials"].values()) < len(whole.runs)
    assert facts["audit"] == ["every stored decision is what today's policy would decide"]


def test_an_audit_tells_a_decision_the_policy_would_not_take(copied, capsys):
    path = copied / "events.jsonl"
    path.write_text(path.read_text().replace("where the learning rate breaks", "a hunch about"))
    print_status(copied, audit=True, as_json=True)
    told = json.loads(capsys.readouterr().out)["audit"]
    assert told == ["round 1 (finder): today's policy would propose 3 other trials"]


def test_prices_stay_within_the_budget(tmp_path, capsys):
    print_prices(small_space(tmp_path))
    (total,) = [line for line in capsys.readouterr().out.splitlines() if "sum" in line]
    price, worst = (float(word) for word in total.replace("│", " ").split()[2:4])
    assert 0 < price <= worst <= 2e13
