"""In which order the trials of a round start."""

from planner.ledger import Ledger
from planner.proxy import Outcome
from planner.run import Round, Status, Trial
from planner.sweep.events import Ended
from tests.sweep.test_loop_faults import Scripted, make_runner


def test_what_takes_longest_starts_first_though_it_has_fewer_flops(tmp_path):
    def sized(seed, params, tokens):
        return Trial("seeds", {"params": params, "do": "learn"}, tokens, 10, 0.1, 100, seed=seed)

    def timed(trial):
        outcome = Outcome(Status.DONE, 1.0, 0.0, trial.tokens)
        return lambda key: Ended(key, 1, outcome, {}, trial.tokens / 100, "cpu")

    known = [sized(seed, 10 * 2**seed, 1000 * (1 + seed % 3)) for seed in range(6)]
    with Ledger.open(tmp_path / "study") as ledger:
        for number, trial in enumerate(known, 1):
            ledger.decided(Round(number, "seeds", (trial,), "because"), "1")
            make_runner(ledger, Scripted(timed(trial))).run(ledger.rounds[-1])
        wide, long = sized(8, 100, 1000), sized(9, 10, 4000)
        ledger.decided(Round(7, "seeds", (wide, long), "because"), "1")
        executor = Scripted(timed(long), timed(wide))
        make_runner(ledger, executor).run(ledger.rounds[-1])
        assert [job.trial for job in executor.jobs] == [long, wide]
