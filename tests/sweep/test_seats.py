"""GPUs of this machine: found, shared out, left alone when the CPU is asked for."""

import os
import stat
from dataclasses import replace

import pytest

from planner.errors import SpaceError, UsageError
from planner.means import ExecutorChoice
from planner.sweep import seats as module
from planner.sweep.events import Ended, Progress, Resources
from planner.sweep.local import LocalExecutor
from planner.sweep.resources import resources_of
from planner.sweep.seats import seats, settled, visible_gpus
from tests.studies import small_space
from tests.sweep.test_local import job, pids
from tests.sweep.toy_proxy import Toy


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Return what makes this machine one of so many GPUs, all of use to torch."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(module, "_usable_by_torch", lambda gpus: gpus)

    def of(gpus):
        program = tmp_path / "bin" / "nvidia-smi"
        program.parent.mkdir(exist_ok=True)
        lines = "\n".join(f"GPU {i}: a device (UUID: GPU-{i})" for i in range(gpus))
        program.write_text(f"#!/bin/sh\ncat <<END\n{lines}\nEND\n")
        program.chmod(program.stat().st_mode | stat.S_IEXEC)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")

    return of


def local(**asked):
    return ExecutorChoice(name="local", **asked)


def test_each_gpu_is_a_seat_unless_more_workers_are_asked_for(machine):
    machine(2)
    assert settled(local()).processes == 2
    assert seats(settled(local())) == ("0", "1")
    four = settled(local(workers=4))
    assert (four.processes, four.gpus) == (4, 0.5)
    assert seats(four) == ("0", "1", "0", "1")
    assert seats(settled(local(workers=1))) == ("0",)


def test_shares_and_groups_of_gpus_are_seats_too(machine):
    machine(4)
    assert settled(local(gpus_per_trial=0.25)).processes == 16
    assert settled(local(gpus_per_trial=0.3)).processes == 12
    assert seats(settled(local(gpus_per_trial=2))) == ("0,1", "2,3")
    assert seats(settled(local(gpus_per_trial=3))) == ("0,1,2",)
    assert seats(settled(local(gpus_per_trial=2, workers=1))) == ("0,1",)


def test_only_the_gpus_this_process_may_use_count(machine, monkeypatch):
    machine(8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert seats(settled(local())) == ("3", "5")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,-1,4")
    assert visible_gpus() == ("2",)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert settled(local()) == local()
    machine(0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert visible_gpus() == ()


def test_the_cpu_is_taken_where_it_is_asked_for_or_there_is_nothing_else(machine, monkeypatch):
    machine(2)
    assert settled(local(gpus_per_trial=0)) == local(gpus_per_trial=0)
    assert seats(local(gpus_per_trial=0)) == ()
    inline = ExecutorChoice(name="inline")
    assert settled(inline) == inline
    monkeypatch.setattr(module, "_usable_by_torch", lambda gpus: 0)
    assert settled(local()) == local()
    assert settled(local(gpus_per_trial=1)).processes == 2  # whoever asks has a trainer that can
    machine(0)
    assert settled(local()) == local()


def test_gpus_that_torch_cannot_use_are_told_of_once(machine, monkeypatch, capsys):
    machine(2)
    settled(local())
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(module, "_usable_by_torch", lambda gpus: 1)
    assert seats(settled(local())) == ("0",)
    assert "torch can use 1 of the GPUs here (2 by nvidia-smi)" in capsys.readouterr().err
    monkeypatch.setattr(module, "_usable_by_torch", lambda gpus: 0)
    settled(local())
    told = capsys.readouterr().err
    assert "can use 0 of the GPUs here (2 by nvidia-smi), so trials train on the CPU: " in told
    assert told.count("\n") == 1
    settled(local(gpus_per_trial=0))
    settled(local(gpus_per_trial=1))
    assert capsys.readouterr().err == ""


def test_more_gpus_than_there_are_is_refused(machine, tmp_path):
    machine(1)
    with pytest.raises(UsageError, match=r"asks for 2 GPUs, and this machine shows 1.*CPU with"):
        settled(local(gpus_per_trial=2))
    executor = LocalExecutor(1, ("0",))
    executor.refuse(Resources(gpus=1))
    with pytest.raises(UsageError, match=r"asks for 2 GPUs .* each worker has 1"):
        executor.refuse(Resources(gpus=2))
    with pytest.raises(SpaceError, match="above 1 they are whole devices"):
        small_space(tmp_path, "executor={name: local, gpus_per_trial: 1.5}")


def test_a_proxy_that_wants_gpus_has_none_where_there_are_none(tmp_path):
    class Wide(Toy):
        def resources(self, trial):
            return {"gpus": 8}

    trial = job(tmp_path).trial
    assert resources_of(local(), Wide({}), trial).device == "cpu"
    assert resources_of(local(gpus_per_trial=1), Wide({}), trial).gpus == 8
    assert resources_of(local(gpus_per_trial=1), Toy({}), trial).device == "cuda:0"


def test_each_worker_sees_its_own_gpu(tmp_path):
    executor = LocalExecutor(2, ("3", "5"))
    for seed in range(2):
        one = job(tmp_path, seed, do="see", pids=str(tmp_path / str(seed)))
        executor.submit(replace(one, device="cuda:0"))
    for seed in range(2):
        pids(tmp_path / str(seed))
    (tmp_path / "gate").touch()
    ended = []
    while len(ended) < 2:
        event = executor.next_event()
        ended += [] if isinstance(event, Progress) else [event]
    executor.close()
    assert all(isinstance(one, Ended) and one.device == "cuda:0" for one in ended)
    assert sorted(one.curve["train_loss"][0] for one in ended) == [3.0, 5.0]
