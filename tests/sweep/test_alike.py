"""What trials of one shape know of each other: the same from the ledger, whenever they run."""

from planner.ledger import Ledger
from planner.proxy import Outcome
from planner.run import Round, Status, Trial
from planner.sweep.alike import Decided
from planner.sweep.events import Ended
from tests.sweep.test_loop_faults import Scripted, make_runner


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
