"""Trials on a Ray cluster of two nodes: the same plan, deaths told, nothing of it left behind."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from planner.campaign import run_campaign
from planner.errors import UsageError
from planner.means import ExecutorChoice
from planner.run import Status
from planner.sweep.events import Died, Ended, Resources
from planner.sweep.stream import make_probe, refuse_unlike
from tests.ray_nodes import ROOT, SETTINGS, Node
from tests.studies import small_space
from tests.sweep.test_local import alive, job, last_event, pids, until
from tests.sweep.test_stacks import stack_of

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("ray")]


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """Return the first node of a cluster of two, with one CPU each."""
    folder = tmp_path_factory.mktemp("ray")
    nodes = [Node(folder, 1).wait()]
    try:
        nodes.append(Node(folder, 1, nodes[0].address).wait())
        yield nodes[0]
    finally:
        for node in nodes:
            node.kill()


@pytest.fixture(scope="module")
def executor(head):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        from planner.sweep.cluster import RayExecutor  # Ray reads the token when it is imported

        executor = RayExecutor(ExecutorChoice(name="ray", address=head.address))
        assert executor.workers == 2
        yield executor
        executor.close()


def run(executor, job):
    executor.submit(job)
    return last_event(executor)


def test_trials_run_on_both_nodes_each_on_one_thread(executor, tmp_path):
    jobs = [job(tmp_path, seed, do="threads") for seed in range(6)]
    for each in jobs:
        executor.submit(each)
    ended = [last_event(executor) for _ in jobs]
    assert sorted(event.key for event in ended) == sorted(each.key for each in jobs)
    assert len({event.outcome.metrics["pid"] for event in ended}) == 2
    assert all(event.curve["train_loss"] == [1.0] for event in ended)
    assert all(event.device == "cpu" for event in ended)


def test_a_users_exception_is_a_failed_run_with_its_traceback(executor, tmp_path):
    event = run(executor, job(tmp_path, do="fail"))
    assert event.outcome.status is Status.FAILED
    assert event.outcome.note.endswith("ValueError: no such corpus\n")


def test_a_killed_worker_is_told_and_the_next_trial_runs(executor, tmp_path):
    executor.submit(job(tmp_path, do="wait"))
    (victim,) = pids(tmp_path / "pids")
    os.kill(victim, signal.SIGKILL)
    event = last_event(executor)
    assert isinstance(event, Died)
    assert event.counts
    assert "killed" in event.note
    assert isinstance(run(executor, job(tmp_path, attempt=2)), Ended)


def test_a_trial_that_reports_leaves_when_asked(executor, tmp_path):
    executor.submit(job(tmp_path, do="wait"))
    pids(tmp_path / "pids")
    executor.preempt()
    event = last_event(executor)
    assert isinstance(event, Died)
    assert not event.counts
    with pytest.raises(RuntimeError, match="submit one first"):
        executor.next_event()


def test_a_trial_that_hangs_is_ended_by_force(executor, tmp_path):
    hanging, behind = job(tmp_path, do="hang"), job(tmp_path, seed=1, do="wait")
    executor.submit(hanging)
    worker, _ = pids(tmp_path / "pids")
    while executor.next_event(0.05) is not None:  # a time-out ends the waiting
        pass
    executor.cancel(hanging.key, "took too long")
    executor.cancel(hanging.key, "once more")
    assert last_event(executor) == Died(hanging.key, 1, "took too long")
    until(lambda: not alive(worker))
    executor.submit(behind)
    executor.cancel(behind.key, "no longer wanted")
    assert last_event(executor) == Died(behind.key, 1, "no longer wanted")


def test_a_trial_on_two_nodes_runs_on_both_at_once(executor, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    wide = replace(job(tmp_path, do="meet", place=str(place)), resources=Resources(nodes=2))
    event = run(executor, wide)
    assert event.outcome.status is Status.DONE
    (first, leader), (second, follower) = ((place / rank).read_text().split() for rank in "01")
    assert first == second
    assert leader != follower
    assert int(leader) == event.outcome.metrics["pid"]


def test_what_fails_on_the_second_node_fails_the_trial(executor, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    shape = {"do": "meet", "place": str(place), "absent": "1"}
    wide = replace(job(tmp_path, **shape), resources=Resources(nodes=2))
    event = run(executor, wide)
    assert event.outcome.status is Status.FAILED
    assert "on node 1" in event.outcome.note
    assert "no way to the other node" in event.outcome.note
    assert isinstance(run(executor, job(tmp_path)), Ended)


def test_a_stack_is_one_task_and_each_of_it_ends(executor, tmp_path):
    call = stack_of(tmp_path, "learn", "diverge", "learn")
    executor.submit(call)
    ended = [last_event(executor) for _ in call.members]
    assert [event.key for event in ended] == [one.key for one in call.members]
    assert [event.outcome.status.value for event in ended] == ["done", "diverged", "done"]
    assert {event.outcome.metrics.get("stack") for event in ended} == {3}


def test_a_stack_whose_worker_dies_is_lost_whole_and_nobodys_fault(executor, tmp_path):
    executor.submit(call := stack_of(tmp_path, "learn", "kill"))
    lost = [last_event(executor) for _ in call.members]
    assert all(isinstance(event, Died) and not event.counts for event in lost)
    assert isinstance(run(executor, job(tmp_path)), Ended)


def test_a_trial_no_node_could_hold_is_refused_at_once(executor, tmp_path):
    large = replace(job(tmp_path), resources=Resources(cpus=1, gpus=4))
    with pytest.raises(UsageError, match=r"asks for 1 CPUs, 4 GPUs.* of 2 has .*add such a node"):
        executor.refuse(large.resources)


def test_a_cluster_that_does_not_answer_is_said_so_at_once():
    from planner.sweep.cluster.session import attach

    with pytest.raises(UsageError, match=r"no Ray cluster answers at 127\.0\.0\.1:1:"):
        attach("127.0.0.1:1")


def test_a_node_with_other_versions_is_refused_by_name():
    facts = make_probe()(str(ROOT))
    refuse_unlike(facts, str(ROOT))
    with pytest.raises(UsageError, match=r"node far of .* has python 3.9, not .* the driver has"):
        refuse_unlike(facts | {"host": "far", "python": "3.9"}, str(ROOT))
    with pytest.raises(UsageError, match="scaling-planner missing"):
        refuse_unlike(facts | {"scaling-planner": "missing"}, str(ROOT))
    with pytest.raises(UsageError, match="has no folder /elsewhere"):
        refuse_unlike(facts, "/elsewhere")


def test_ray_gives_the_inline_plan_and_the_cluster_stays_up(executor, head, tmp_path, finished):
    chosen = ("executor.name=ray", f"executor.address={head.address}", "executor.workers=2")
    before = signal.getsignal(signal.SIGTERM)
    run_campaign(small_space(tmp_path, *chosen), tmp_path / "study", report=False)
    signal.signal(signal.SIGTERM, before)
    for name in ("plan.json", "fit.json"):
        assert (tmp_path / "study" / name).read_text() == (finished / name).read_text()
    assert head.address not in (tmp_path / "study" / "space.yaml").read_text()
    assert isinstance(run(executor, job(tmp_path)), Ended)


OWN_RAY = """
import sys
from planner.means import ExecutorChoice
from planner.sweep.cluster import RayExecutor
from tests.sweep.test_cluster import last_event, job, listeners
from pathlib import Path

executor = RayExecutor(ExecutorChoice(name="ray", workers=1))
executor.submit(job(Path(sys.argv[1])))
print(last_event(executor).outcome.status, *sorted(listeners()))
executor.close()
"""


def listeners():
    """Return the addresses, as the kernel writes them, this process and its own listen on."""
    group, inodes = os.getpgrp(), set()
    for folder in Path("/proc").glob("[0-9]*/fd"):
        with suppress(OSError):
            if os.getsid(int(folder.parent.name)) == os.getsid(group):
                inodes |= {os.readlink(file) for file in folder.iterdir()}
    lines = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    sockets = [line.split() for line in lines.splitlines()]
    return {
        columns[1].partition(":")[0]
        for columns in sockets
        if columns[3] == "0A" and f"socket:[{columns[9]}]" in inodes
    }


def test_a_ray_of_our_own_listens_on_loopback_alone_and_ends_with_us(tmp_path):
    process = subprocess.run(
        [sys.executable, "-c", OWN_RAY, str(tmp_path)],
        env=os.environ | SETTINGS,
        capture_output=True,
        text=True,
        start_new_session=True,
        check=True,
    )
    status, *addresses = process.stdout.split()
    assert status == "done"
    assert addresses
    assert {address.removeprefix("0000000000000000FFFF0000") for address in addresses} == {
        "0100007F"
    }
