"""What trials of one shape know of each other: the same from the ledger, whenever they run."""

import json
import subprocess
import sys
from dataclasses import asdict

from planner._log import encode_line
from planner.ledger import Ledger
from planner.proxy import Outcome, ProxySpec
from planner.run import Round, Status, Trial
from planner.sweep.alike import Decided
from planner.sweep.events import Ended, Job
from planner.sweep.worker import run_call
from tests.sweep.test_loop_faults import Scripted, make_runner
from tests.sweep.toy_proxy import Toy


def made(seed, params=10, tokens=1000, **more):
    shape = {"params": params, "do": "learn"}
    return Trial("seeds", shape, tokens, 10, 0.1, 100, seed=seed, **more)


def rounds(*groups):
    return [Round(number, "seeds", trials, "because") for number, trials in enumerate(groups, 1)]


def test_new_tokens_of_a_shape_are_summed_by_batch_over_all_rounds():
    fork = made(2, tokens=1500, parent="trunk", fork_at=900)
    other = Trial("seeds", {"do": "learn", "params": 10}, 4000, 40, 0.1, 0)
    steps = rounds((made(0), made(1), made(0, params=20)), (fork, other))
    decided = Decided()
    decided.follow(steps[:1])
    assert decided.alike({"params": 10, "do": "learn"}) == ((10, 2000),)
    decided.follow(steps)
    decided.follow(steps)
    assert decided.alike({"params": 10, "do": "learn"}) == ((10, 2600), (40, 4000))
    assert decided.alike({"params": 20, "do": "learn"}) == ((10, 1000),)
    assert decided.alike({"params": 30}) == ()


class Compiling(Toy):
    """Compiles what has company, as it says."""

    capabilities = Toy.capabilities | {"compiles"}

    def compiles(self, trial, device, alike):
        return device == "cpu" and alike[trial.batch_tokens] > trial.new_tokens


def test_what_will_be_compiled_is_expected_to_be_as_fast_as_what_was(tmp_path):
    def took(seconds, **metrics):
        def event(key):
            outcome = Outcome(Status.DONE, 1.0, 0.0, 1000, metrics=metrics)
            return Ended(key, 1, outcome, {}, seconds, "cpu")

        return event

    with Ledger.open(tmp_path / "study") as ledger:
        script = took(100.0), took(10.0, compiled=1.0), took(1.0), took(1.0), took(1.0)
        executor = Scripted(*script)
        company = made(0, params=20), made(1, params=20, tokens=3000)
        for step in rounds((made(0),), (made(1, params=30),), (made(2, params=40), *company)):
            ledger.decided(step, "1")
            make_runner(ledger, executor, proxy=Compiling({})).run(ledger.rounds[-1])
    sizes = [job.trial.shape["params"] for job in executor.jobs]
    assert sizes[2:] == [40, 20, 20], "three times the tokens take less time, once compiled"


def test_a_resumed_trial_is_told_what_it_was_told_at_first(tmp_path):
    def good(trial):
        outcome = Outcome(Status.DONE, 1.0, 0.0, trial.tokens)
        return lambda key: Ended(key, 1, outcome, {}, 1.0, "cpu")

    first, second, third = made(0), made(1, tokens=500), made(2)
    with Ledger.open(tmp_path / "study") as ledger:
        for step in rounds((first,), (second, third)):
            ledger.decided(step, "1")
            trials = sorted(step.trials, key=lambda trial: -trial.tokens)
            executor = Scripted(*map(good, trials))
            make_runner(ledger, executor).run(ledger.rounds[-1])
    assert [job.alike for job in executor.jobs] == [((10, 2500),)] * 2
    again = Scripted(good(third))
    with Ledger.open(tmp_path / "again") as ledger:
        for step in rounds((first,), (second, third)):
            ledger.decided(step, "1")
        make_runner(ledger, again).run(Round(2, "seeds", (third,), "the rest of it"))
    assert [job.alike for job in again.jobs] == [((10, 2500),)]


TELLS = """
from planner.proxy import Outcome
from planner.run import Status


class Tells:
    capabilities = frozenset()

    def __init__(self, data):
        pass

    def train(self, trial, ctx):
        ctx.report(tokens=trial.tokens, loss=1.0)
        return Outcome(Status.DONE, 1.0, 0.0, trial.tokens, str(ctx.alike))
"""


def test_a_proxy_hears_it_in_a_worker_and_through_the_file_of_a_slurm_job(tmp_path):
    (tmp_path / "tells.py").write_text(TELLS)
    spec = ProxySpec(f"{tmp_path}/tells.py:Tells")
    job = Job("k", made(0), 1, spec, str(tmp_path / "states"), alike=((10, 2500), (40, 7)))
    (here,) = run_call(job, lambda _: None)
    asked = tmp_path / "k-1.json"
    asked.write_text(encode_line(asdict(job) | {"path": sys.path}))
    subprocess.run([sys.executable, "-m", "planner.sweep.slurm", str(asked)], check=True)
    there = [json.loads(line) for line in asked.with_suffix(".told").read_text().splitlines()]
    assert here.outcome.note == there[-1]["outcome"]["note"] == "{10: 2500, 40: 7}"
