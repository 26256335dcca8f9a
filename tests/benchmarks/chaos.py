"""Random kills of everything a sweep consists of, on a real cluster of two nodes; what is lost.

    kills: the driver, a worker, the second node's raylet, the whole second node, the head
    asked:  every finished trial recorded once; all work paid for; no more than INTERVAL points of a
            trial computed twice per attempt lost; the plan of the uninterrupted sweep

Then a sweep of 200 trials on three nodes that loses one and gains one. `chaos [KILLS] [SEED]`.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path

from planner.ledger import Ledger
from tests.benchmarks.chaos_proxy import INTERVAL, POINTS
from tests.ray_nodes import ROOT, SETTINGS, Node
from tests.studies import TEXT, space_file

KINDS = {"worker": 62, "driver": 20, "raylet": 8, "node": 8, "head": 2}
"""What is killed, in per cent."""

PAUSES = (0.5, 2.5)
"""Seconds between two kills."""

MARKS = 3
"""Marks a trial must pass before a worker is killed: one that dies at one place is given up."""

POINT_SECONDS = 0.08
PROXY = f"{ROOT}/tests/benchmarks/chaos_proxy.py:ChaosProxy"


def command(space: Path, out: Path, *extra: str) -> list[str]:
    chosen = ("--set", f"proxy.name={PROXY}", *extra)
    return [sys.executable, "-m", "planner", "sweep", str(space), "--out", str(out), *chosen]


def plan_of(out: Path) -> dict:
    """Return a study's plan, but for the commit of this checkout, which may move meanwhile."""
    plan = json.loads((out / "plan.json").read_text())
    plan["provenance"].pop("git_sha", None)
    return plan


class Cluster:
    """A head and a second node, one CPU each, that come back when they are killed."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        os.environ.update(environment)
        self.head = Node(folder, 1).wait()
        self.second = Node(folder, 1, self.head.address).wait()

    def kill(self, kind: str) -> None:
        if kind == "head":
            self.head.kill()
            self.second.kill()
            self.head = Node(self.folder, 1, port=self.head.port).wait()
        elif kind == "raylet" and (raylet := self.second.raylet()):
            os.kill(raylet, signal.SIGKILL)
            self.second.process.wait()
        else:
            self.second.kill()
        self.second = Node(self.folder, 1, self.head.address)

    def workers(self) -> list[int]:
        """Return the processes that run trials."""
        listing = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True).stdout
        lines = [line.split(None, 1) for line in listing.splitlines()]
        return [int(pid) for pid, args in lines if args.startswith("ray::trial")]

    def close(self) -> None:
        """End both nodes."""
        for node in (self.second, self.head):
            node.kill()


class Sweep:
    """One study under fire: its driver is started again until it ends by itself."""

    def __init__(self, space: Path, out: Path, cluster: Cluster) -> None:
        self.out, address = out, cluster.head.address
        self.argv = command(space, out, "--executor", "ray", "--ray-address", address)
        self.argv += ["--no-report", "--workers", "2"]
        self.log = (out.parent / f"{out.name}.log").open("a")
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self.argv, stdout=self.log, stderr=self.log)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.start()


def ripe(out: Path) -> bool:
    """Say whether every trial under way has come further than the attempts before it."""
    marks: dict[str, int] = {}
    log = out / "events.jsonl"
    for line in log.read_text().splitlines()[:-1] if log.exists() else ():
        event = json.loads(line)
        if event["event"] == "started":
            marks[event["key"]] = 0
        elif event["event"] == "progress":
            marks[event["key"]] += 1
        elif event["event"] in ("ended", "lost"):
            marks.pop(event.get("key") or event["run"]["key"], None)
    return bool(marks) and min(marks.values()) >= MARKS


def strike(kind: str, sweep: Sweep, cluster: Cluster, rng: random.Random) -> bool:
    """Kill one thing; say whether there was one."""
    if kind == "driver":
        sweep.kill()
    elif kind == "worker":
        running = cluster.workers()
        if not running or not ripe(sweep.out):
            return False
        try:
            os.kill(rng.choice(running), signal.SIGKILL)
        except ProcessLookupError:
            return False
    else:
        cluster.kill(kind)
    return True


def under_fire(sweep: Sweep, cluster: Cluster, rng: random.Random, most: int) -> Counter:
    """Kill until the study ends; return how often what was killed."""
    kills: Counter = Counter()
    while True:
        try:
            code = sweep.process.wait(rng.uniform(*PAUSES))
        except subprocess.TimeoutExpired:
            kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
            if kills.total() < most and strike(kind, sweep, cluster, rng):
                kills[kind] += 1
            continue
        if code == 0:
            return kills
        print(f"  the driver ended with exit code {code}; started again", flush=True)
        sweep.start()


def judge(out: Path, work: Path, plan: dict) -> dict[str, float]:
    """Hold a study's records against what was really computed. Raises AssertionError."""
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    counts = Counter(event["event"] for event in events)
    ledger = Ledger.read(out)
    rows = [json.loads(line)["key"] for line in (out / "runs.jsonl").read_text().splitlines()]
    assert len(rows) == len(set(rows)) == len(ledger.runs), "a trial is recorded twice"
    assert plan_of(out) == plan, "the plan is another one"
    computed = Counter(work.read_text().split("\n")[:-1])
    attempts = Counter(event["key"] for event in events if event["event"] == "started")
    least = again = 0.0
    for key, run in ledger.runs.items():
        points = [computed[f"{run.trial.key({})} {k}"] for k in range(1, POINTS + 1)]
        if not sum(points):
            continue  # a range test: it takes no time
        redone = sum(points) - POINTS
        lost = attempts[key] - 1
        assert 0 <= redone <= lost * INTERVAL, f"{redone} points redone after {lost} losses"
        least += run.size.flops((run.tokens - run.trial.fork_at) / POINTS) * sum(points)
        again += redone
    assert ledger.spent_flops >= 0.999 * least, "work was not paid for"
    return {
        "trials": len(rows),
        "attempts lost": counts["started"] - counts["ended"],
        "points redone": again,
        "paid / computed": ledger.spent_flops / least,
    }


def many_kills(folder: Path, kills: int, seed: int) -> None:
    rng, done, began = random.Random(seed), Counter(), time.monotonic()
    space, work = space_file(folder), folder / "work"
    subprocess.run(
        command(space, folder / "calm", "--no-report", "--executor", "inline"),
        check=True,
        capture_output=True,
    )
    plan = plan_of(folder / "calm")
    environment = {"CHAOS_SECONDS": str(POINT_SECONDS), "CHAOS_WORK": str(work)}
    cluster = Cluster(folder, environment)
    try:
        for number in range(1, 100):
            work.write_text("")
            out = folder / f"study-{number}"
            sweep = Sweep(space, out, cluster)
            done += (killed := under_fire(sweep, cluster, rng, kills - done.total()))
            told = {name: round(value, 3) for name, value in judge(out, work, plan).items()}
            print(f"study {number}: {killed.total()} kills {dict(killed)}: {told}", flush=True)
            if done.total() >= kills:
                break
    finally:
        cluster.close()
        sweep.process.kill()
    minutes = (time.monotonic() - began) / 60
    print(f"{done.total()} kills in {minutes:.1f} min, {dict(done)}: nothing lost, the same plan")


def changing_nodes(folder: Path) -> None:
    """Sweep 200 trials on three nodes; one goes after 60 trials, another comes after 100."""
    began = time.monotonic()
    space = space_file(folder, TEXT.replace("seeds: 3,", "seeds: 158,"))
    paid = ("--set", "budget.flops=1e14")
    calm = command(space, folder / "calm", "--no-report", "--executor", "inline", *paid)
    subprocess.run(calm, check=True, capture_output=True)
    os.environ.update({"CHAOS_SECONDS": str(POINT_SECONDS / 2), "CHAOS_WORK": str(folder / "work")})
    nodes = [Node(folder, 1).wait()]
    nodes += [Node(folder, 1, nodes[0].address).wait() for _ in range(2)]
    out, address = folder / "study", nodes[0].address
    try:
        cluster = ("--executor", "ray", "--ray-address", address, "--workers", "3")
        argv = command(space, out, *cluster, *paid)
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(argv, stdout=log, stderr=log)
        _until(process, out, 60)
        nodes.pop().kill()
        _until(process, out, 100)
        nodes.append(Node(folder, 1, address))
        assert process.wait() == 0, (folder / "log").read_text()[-2000:]
    finally:
        for node in nodes:
            node.kill()
    assert plan_of(out) == plan_of(folder / "calm"), "the plan is another one"
    said = next(
        line
        for line in (out / "report.md").read_text().splitlines()
        if "ended without a result" in line
    )
    ended = len((out / "runs.jsonl").read_text().splitlines())
    minutes = (time.monotonic() - began) / 60
    print(
        f"{ended} trials on a changing cluster in {minutes:.1f} min, the same plan; report: {said}"
    )


def _until(process: subprocess.Popen, out: Path, trials: int) -> None:
    """Wait until a sweep has recorded so many trials."""
    table = out / "runs.jsonl"
    while not table.exists() or table.read_text().count("\n") < trials:
        assert process.poll() is None, "the sweep ended too early"
        time.sleep(0.2)


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    os.environ.update(SETTINGS)
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    for act in (changing_nodes, partial(many_kills, kills=kills, seed=seed)):
        place = folder / str(len(list(folder.iterdir())))
        place.mkdir()
        act(place)
    shutil.rmtree(folder)  # what went wrong can be looked at


if __name__ == "__main__":
    main()
