"""A study folder can be read, concluded and identified without the proxy that trained it."""

from __future__ import annotations

import json
import platform

import numpy as np
import pytest

from planner.errors import LedgerError
from planner.proxies.synthetic import SyntheticProxy
from planner.study import (
    conclude,
    describe_environment,
    facts_of,
    provenance_of,
    read_study,
    write_json,
)


@pytest.fixture(scope="module")
def study(finished):
    return read_study(finished)


@pytest.fixture(scope="module")
def found(study):
    return conclude(study)


def test_every_run_is_found_under_the_stages_that_asked_for_it(study):
    runs = study.runs_by_stage
    stages = list(runs)
    assert (stages[0], stages[-1]) == ("finder", "held_out")
    assert {run.key for ended in runs.values() for run in ended} == set(study.ledger.runs)


def test_what_the_rounds_cost_is_what_was_spent(study):
    total = sum(study.spent_on(entry) for entry in study.ledger.rounds)
    assert total == pytest.approx(study.ledger.spent_flops)
    assert total <= study.space.budget.flops


def test_the_conclusion_predicts_what_was_planted(found):
    truth = SyntheticProxy({}, noise=0.004).truth
    flops = 10.0 * found.loss.range.flops[1]
    size = float(truth.optimal_size(flops))
    (loss,) = found.loss.predict(np.array([size]), np.array([flops / (6.0 * size)]))
    assert loss.low < truth.best_loss(size, flops / (6.0 * size)) < loss.high
    assert found.judgement is not None
    assert found.judgement.inside98
    assert [finding.code for finding in found.findings] == ["critical-batch"]


def test_off_optimum_undecayed_and_range_test_losses_stay_out_of_the_law(study, found):
    wanted = [
        run
        for stage in ("ladder", "held_out")
        for run in study.runs_by_stage[stage]
        if run.done and run.trial.schedule.name != "constant"
    ]
    assert found.loss.range.n_points == len({run.key for run in wanted})


def test_a_log_cut_by_a_crash_is_a_finding(copied):
    with (copied / "events.jsonl").open("a") as log:
        log.write('{"event": "star')
    codes = [finding.code for finding in conclude(read_study(copied)).findings]
    assert "log-repaired" in codes


def test_shapes_and_facts_of_the_proxies_come_back(study):
    assert study.family is not None
    assert study.family.head_dim == 16
    assert facts_of(study)["tokenizer"] == "bytes"


def test_what_identifies_the_evidence_names_no_machine(study):
    assert provenance_of(study)["ledger_hash"] == study.ledger.hash()
    text = json.dumps(describe_environment({}, [])) + json.dumps(provenance_of(study))
    assert platform.node() not in text


def test_a_folder_that_is_no_study_gets_a_sentence(tmp_path):
    with pytest.raises(LedgerError, match="`planner sweep` makes one"):
        read_study(tmp_path)


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "fit.json"
    write_json(path, {"loss": 2.0})
    with pytest.raises(ValueError):
        write_json(path, {"loss": float("nan")})
    assert json.loads(path.read_text()) == {"loss": 2.0}
