"""Proxies that train several trials in one call, for the tests of stacks."""

import os
import signal
import time
from pathlib import Path

from planner.proxies.synthetic import SyntheticProxy
from planner.proxy import Outcome, Preempted, StopTrial
from planner.run import Status
from planner.shape import size_from_mapping


class Planted(SyntheticProxy):
    """The synthetic proxy; whole runs of one size and batch are stacked."""

    capabilities = SyntheticProxy.capabilities | {"train_many"}

    def stack_key(self, trial, device):
        if trial.schedule.name != "wsd" or trial.parent:
            return None
        return f"{trial.shape} {trial.batch_tokens} {device}"

    def stack_size(self, trial, device):
        return 8

    def train_many(self, trials, contexts):
        return [self.train(trial, ctx) for trial, ctx in zip(trials, contexts, strict=True)]


class Toys:
    """Trials whose shape says what becomes of them, a step of each in turn."""

    capabilities = frozenset({"train_many"})

    def __init__(self, data):
        pass

    def size(self, shape):
        return size_from_mapping({"params": shape["params"]})

    def recipe(self):
        return {}

    def stack_key(self, trial, device):
        return device

    def stack_size(self, trial, device):
        return trial.shape.get("most", 8)

    def train(self, trial, ctx):
        (outcome,) = self.train_many([trial], [ctx])
        if outcome is None:
            raise StopTrial("left")
        return outcome

    def train_many(self, trials, contexts):
        outcomes = [Outcome(Status.DONE, trial.lr, 0.0, trial.tokens) for trial in trials]
        for part in range(1, 11):
            for place, (trial, ctx) in enumerate(zip(trials, contexts, strict=True)):
                if outcomes[place] is not None:
                    outcomes[place] = outcomes[place] if self.step(trial, ctx, part) else None
        return outcomes

    def step(self, trial, ctx, part):
        """Train a tenth of a trial; False where it was stopped."""
        do, loss = trial.shape.get("do", "learn"), 1 + 1 / part
        if part == 5 and do != "learn":
            loss = getattr(self, do)(trial, ctx) or loss
        try:
            ctx.report(tokens=trial.tokens * part // 10, loss=loss)
        except Preempted:
            raise
        except StopTrial:
            return False
        return True

    def diverge(self, trial, ctx):
        return float("nan")

    def fail(self, trial, ctx):
        raise ValueError("no such corpus")

    def kill(self, trial, ctx):
        os.kill(os.getpid(), signal.SIGKILL)

    def kill_once(self, trial, ctx):
        mark = Path(trial.shape["mark"])
        if not mark.exists():
            mark.touch()
            self.kill(trial, ctx)

    def sleep(self, trial, ctx):
        time.sleep(0.2)

    def hang(self, trial, ctx):
        time.sleep(600)

    def wait(self, trial, ctx):
        Path(trial.shape["mark"]).touch()
        while True:
            ctx.report(tokens=trial.tokens // 2, loss=2.0)
            time.sleep(0.005)
