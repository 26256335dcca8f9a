"""A study's status comes from its log alone, and says what the ledger says."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from planner._log import seal
from planner.errors import LedgerError
from planner.ledger import Ledger
from planner.status import print_status, read_status


def sealed(event):
    return seal(json.dumps({k: v for k, v in event.items() if k != "crc"}, separators=(",", ":")))


def drop(folder, keep):
    """Keep the lines of the log that a condition wants, numbered anew."""
    path = folder / "events.jsonl"
    events = [json.loads(line) for line in path.read_text().splitlines()]
    kept = [event for event in events if keep(event)]
    path.write_text("".join(sealed(event | {"n": n}) for n, event in enumerate(kept, 1)))
    (folder / "plan.json").unlink(missing_ok=True)


def test_it_says_what_the_ledger_says(finished):
    told, ledger = read_status(finished).to_json(), Ledger.read(finished)
    assert told["spent_flops"] == pytest.approx(ledger.spent_flops)
    assert told["device_hours"] == pytest.approx(ledger.device_seconds / 3600)
    assert sum(told["trials"].values()) == len(ledger.runs)
    assert [one["trials"] for one in told["bought"]] == [len(r.trials) for r in ledger.rounds]
    assert all(one["ended"] == one["trials"] for one in told["bought"])
    assert sum(one["spent_flops"] for one in told["bought"]) == pytest.approx(ledger.spent_flops)
    assert told["seconds_left"] == 0


def test_every_round_tells_what_it_left_in_doubt(finished, capsys):
    left = [one["left"] for one in read_status(finished).to_json()["bought"]]
    assert all(one["regret_nats"] > 0 for one in left)
    assert left[0]["loss"] is None
    before, after = (one["loss"] for one in left[-2:])
    assert all(one["low"] < one["value"] < one["high"] for one in (before, after))
    print_status(finished, audit=False, as_json=False)
    assert f"{after['low']:.2f}-{after['high']:.2f}" in capsys.readouterr().out


def test_a_narrow_terminal_keeps_the_figures_on_one_line(finished, capsys, monkeypatch):
    told = {}
    for width in (80, 140):
        monkeypatch.setenv("COLUMNS", str(width))
        print_status(finished, audit=False, as_json=False)
        told[width] = capsys.readouterr().out
    assert "why" not in told[80]
    assert "why" in told[140]


def test_attempts_without_an_end_are_paid_for_as_in_the_ledger(copied):
    last = []

    def cut_short(event):
        last[:] = last or [event["key"]] if event["event"] == "started" else last
        return event["event"] != "ended" or event["run"]["key"] not in last

    drop(copied, cut_short)
    told, ledger = read_status(copied), Ledger.read(copied)
    assert told.fold.spend.total == pytest.approx(ledger.spent_flops)
    assert told.fold.spend.device_seconds == pytest.approx(ledger.device_seconds)
    assert told.fold.rounds[0].ended == told.fold.rounds[0].trials - 1


def test_what_is_left_is_priced_stage_by_stage(copied):
    ladder = []

    def before_the_ladder(event):
        ladder.extend(
            [1] if event["event"] == "decided" and event["round"]["stage"] == "ladder" else []
        )
        return not ladder

    drop(copied, before_the_ladder)
    status = read_status(copied)
    assert 0 < status.seconds_left < 60
    assert status.to_json()["plan"] is False


def test_doubts_are_told_before_there_is_a_plan(copied, capsys):
    path = copied / "events.jsonl"
    events = [json.loads(line) for line in path.read_text().splitlines()]
    next(event for event in events if event["event"] == "ended")["run"]["status"] = "diverged"
    path.write_text("".join(map(sealed, events)) + '{"n":')
    (copied / "plan.json").unlink()
    print_status(copied, audit=False, as_json=False)
    told = capsys.readouterr().out
    assert "1 trials diverged; their losses are bounds" in told
    assert "the last line of the log is cut" in told


def test_a_damaged_log_and_a_foreign_folder_are_refused(copied, tmp_path):
    with pytest.raises(LedgerError, match="not a study"):
        read_status(tmp_path)
    lines = (copied / "events.jsonl").read_text().splitlines(keepends=True)
    (copied / "events.jsonl").write_text("".join(lines[:5] + lines[6:]))
    with pytest.raises(LedgerError, match="line 6 is damaged"):
        read_status(copied)


def test_attempts_that_left_and_resumed_are_paid_for_as_in_the_ledger(copied):
    """As after SIGTERM: one attempt left exactly where it says, the next went on from there."""
    with Ledger.open(copied) as ledger:
        before = ledger.spent_flops
        run = next(iter(ledger.runs.values()))
        trial, size = replace(run.trial, seed=77), run.size
        ledger.started("new", 1, "local", trial, size)
        ledger.lost("new", 1, "asked to leave", trial.tokens // 2, counts=False)
        ledger.started("new", 2, "local", trial, size)
        ledger.progress("new", 2, trial.tokens // 2, resumed=True)
        ledger.progress("new", 2, trial.tokens)
        ledger.lost("new", 2, "killed")
        assert ledger.spent_flops - before == pytest.approx(size.flops(trial.tokens), rel=1e-3)
    fold = read_status(copied).fold
    assert fold.spend.total == pytest.approx(Ledger.read(copied).spent_flops)


def test_a_damaged_file_beside_the_log_is_named(copied):
    for name in ("plan.json", "env.json"):
        (copied / name).write_bytes(b"{\x8a")
        with pytest.raises(LedgerError, match=f"{name} cannot be read"):
            print_status(copied, audit=False, as_json=True)
