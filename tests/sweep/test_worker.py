"""One trial from plain data: outcomes, curves, progress; failures become results."""

import math
from pathlib import Path

import pytest

from planner.proxy import ProxySpec
from planner.run import Schedule, Status, Trial
from planner.sweep.events import Job, Progress
from planner.sweep.worker import NOTE_CHARACTERS, run_job

TOY = f"{Path(__file__).with_name('toy_proxy.py')}:Toy"


def job(folder, do="learn", *, schedule="wsd", spec=None, lr=0.1, **more):
    shape = {"params": 10, "do": do}
    trial = Trial("seeds", shape, 1000, 10, lr, 100, Schedule(schedule), **more)
    return Job(trial.key({}), trial, 1, spec or ProxySpec(TOY), str(folder / "checkpoint"))


def run(job):
    told: list[Progress] = []
    return run_job(job, told.append), told


def test_a_trial_ends_with_its_outcome_and_its_curve(tmp_path):
    ended, _ = run(job(tmp_path))
    assert (ended.outcome.status, ended.outcome.loss) == (Status.DONE, 0.25)
    assert len(ended.curve["tokens"]) == 40
    assert ended.curve["train_loss"][-1] == pytest.approx(1 + 1 / 40)
    assert (tmp_path / "checkpoint").is_dir()


def test_points_that_lack_a_name_are_nan_in_its_column(tmp_path):
    ended, _ = run(job(tmp_path))
    shares = ended.curve["clip_share"]
    assert math.isnan(shares[0])
    assert shares[1] == 0.5
    assert {len(column) for column in ended.curve.values()} == {40}


def test_progress_comes_at_every_tenth_of_the_new_tokens(tmp_path):
    _, told = run(job(tmp_path))
    assert {event.tokens for event in told} >= {100 * k for k in range(1, 11)}


def test_a_fork_counts_progress_from_where_it_starts(tmp_path):
    _, told = run(job(tmp_path, parent="trunk", fork_at=500))
    assert {event.tokens for event in told} >= {550 + 50 * k for k in range(10)}


def test_the_options_reach_the_proxy(tmp_path):
    ended, _ = run(job(tmp_path, spec=ProxySpec(TOY, {}, {"loss": 0.5})))
    assert ended.outcome.loss == 0.5


def test_a_failure_is_a_result_with_its_traceback(tmp_path):
    ended, _ = run(job(tmp_path, "fail"))
    assert ended.outcome.status is Status.FAILED
    assert "no such corpus" in ended.outcome.note
    assert len(ended.outcome.note) <= NOTE_CHARACTERS
    assert ended.outcome.tokens == 100
    assert math.isnan(ended.outcome.loss)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (ProxySpec("no_such_module:Proxy"), "no_such_module cannot be imported"),
        (ProxySpec("missing.py:Proxy"), "missing.py does not exist"),
        (ProxySpec(TOY, {}, {"colour": "red"}), "colour"),
    ],
)
def test_a_proxy_that_cannot_be_made_is_a_failure_too(tmp_path, spec, says):
    ended, _ = run(job(tmp_path, spec=spec))
    assert ended.outcome.status is Status.FAILED
    assert says in ended.outcome.note


def test_a_proxy_that_leaves_the_program_only_fails(tmp_path):
    assert run(job(tmp_path, "leave"))[0].outcome.status is Status.FAILED


def test_a_loss_that_is_not_a_number_ends_the_trial_as_diverged(tmp_path):
    ended, _ = run(job(tmp_path, "break_up"))
    assert ended.outcome.status is Status.DIVERGED
    assert ended.outcome.note == "the loss became nan at 500 tokens (lr 0.1)"


def test_a_range_test_is_reduced_to_its_bracket(tmp_path):
    ended, _ = run(job(tmp_path, "sweep_lr", schedule="finder", lr=1.0))
    found = ended.outcome.metrics
    assert 1e-3 < found["lr_low"] < found["lr_steep"] < found["lr_high"] <= found["lr_div"] <= 1
