"""A proxy whose shape says how it behaves, for the tests of the executors."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from planner.proxy import Outcome
from planner.run import Status
from planner.shape import size_from_mapping


class Toy:
    capabilities = frozenset({"finder"})

    def __init__(self, data, *, loss=0.25):
        self.loss = loss

    def size(self, shape):
        return size_from_mapping(shape)

    def recipe(self):
        return {}

    def train(self, trial, ctx):
        getattr(self, trial.shape.get("do", "learn"))(trial, ctx)
        return Outcome(Status.DONE, self.loss, 0.01, trial.tokens, metrics={"pid": os.getpid()})

    def learn(self, trial, ctx):
        for k in range(1, 41):
            extra = {"clip_share": 0.5} if k % 2 == 0 else {}
            ctx.report(tokens=trial.tokens * k // 40, loss=1 + 1 / k, lr=trial.lr, **extra)

    def sweep_lr(self, trial, ctx):
        for k in range(120):
            lr = trial.lr * 10 ** (-4 + 4 * k / 119)
            loss = 5 - 2 / (1 + (1e-2 / lr) ** 2) + (lr / 0.3) ** 4
            ctx.report(tokens=(k + 1) * trial.batch_tokens, loss=loss, lr=lr)

    def fail(self, trial, ctx):
        ctx.report(tokens=100, loss=3.0)
        raise ValueError("no such corpus")

    def leave(self, trial, ctx):
        sys.exit(3)

    def break_up(self, trial, ctx):
        ctx.report(tokens=500, loss=float("nan"))

    def print_much(self, trial, ctx):
        sys.stdout.write("a trainer's own words\n")

    def threads(self, trial, ctx):
        ctx.report(tokens=1000, loss=float(os.environ["OMP_NUM_THREADS"]))

    def see(self, trial, ctx):
        """Report the GPU this process may use, once another worker is there too."""
        self.present(trial)
        while not Path(trial.shape["gate"]).exists():
            time.sleep(0.005)
        ctx.report(tokens=1000, loss=float(os.environ["CUDA_VISIBLE_DEVICES"]))

    def wait(self, trial, ctx):
        """Train until the gate file is there, telling on the way."""
        self.present(trial)
        while not Path(trial.shape["gate"]).exists():
            ctx.report(tokens=100, loss=2.0)
            time.sleep(0.005)

    def deaf(self, trial, ctx):
        """Report once and then never again until the gate file is there."""
        ctx.report(tokens=100, loss=2.0)
        while not Path(trial.shape["gate"]).exists():
            time.sleep(0.005)

    def go_on(self, trial, ctx):
        """Train 40 points from the state saved last; leave one when asked to."""
        state, begin = ctx.checkpoint_dir / "state", 0
        if state.exists():
            begin = int(state.read_text())
            for k in range(1, begin + 1):
                ctx.report(tokens=trial.tokens * k // 40, loss=1 + 1 / k)
            ctx.resumed(trial.tokens * begin // 40)
        for k in range(begin + 1, 41):
            try:
                ctx.report(tokens=trial.tokens * k // 40, loss=1 + 1 / k)
            finally:
                state.write_text(str(k))

    def keep(self, trial, ctx):
        """Leave a file for every state to keep, and one of another kind."""
        for tokens in trial.keep_at:
            (ctx.checkpoint_dir / f"tokens-{tokens}.pt").touch()
        (ctx.checkpoint_dir / "states.json").touch()

    def step(self, trial, ctx):
        """Come to 137 tokens, and leave between two reports if asked to."""
        ctx.give_way(137)
        raise AssertionError("nobody asked")

    def count_parent(self, trial, ctx):
        """Report how many files the trunk left."""
        ctx.report(tokens=trial.tokens, loss=float(len(list(ctx.parent.iterdir()))))

    def hang_once(self, trial, ctx):
        """Hang at the first attempt; learn at the next."""
        if Path(trial.shape["pids"]).exists():
            self.learn(trial, ctx)
        else:
            self.hang(trial, ctx)

    def kill(self, trial, ctx):
        """Kill the process it runs in, whichever that is."""
        os.kill(os.getpid(), signal.SIGKILL)

    def hang(self, trial, ctx):
        """Start a program, as a command proxy does, and never report again."""
        child = subprocess.Popen(["sleep", "600"])
        self.present(trial, child.pid)
        ctx.report(tokens=trial.tokens, loss=2.0)
        child.wait()

    def load_in_a_fork(self, trial, ctx):
        """Fork a helper that holds all this process has open, as data loaders do."""
        if (child := os.fork()) == 0:
            time.sleep(600)
            os._exit(0)
        self.present(trial, child)
        time.sleep(600)

    def meet(self, trial, ctx):
        """Train on two nodes: each waits for the other, by what the environment says of them."""
        rank, place = os.environ["NODE_RANK"], Path(trial.shape["place"])
        if rank == trial.shape.get("absent"):
            raise ValueError("no way to the other node")
        port = os.environ["MASTER_PORT"]
        (place / rank).write_text(f"{os.environ['MASTER_ADDR']}:{port} {os.getpid()}")
        while len(list(place.iterdir())) < int(os.environ["NNODES"]):
            time.sleep(0.01)

    def present(self, trial, *others):
        half = Path(trial.shape["pids"] + ".half")
        half.write_text(" ".join(str(pid) for pid in (os.getpid(), *others)))
        half.rename(trial.shape["pids"])
