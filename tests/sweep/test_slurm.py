"""Trials as jobs of submitit's local cluster: the same events, deaths told, no pickle, no rest."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from planner.errors import UsageError
from planner.proxy import ProxySpec
from planner.run import Status, Trial
from planner.sweep.events import Died, Ended, Job, Progress, Resources
from planner.sweep.inline import InlineExecutor
from planner.sweep.slurm import SlurmExecutor

TOY = f"{Path(__file__).with_name('toy_proxy.py')}:Toy"

pytest.importorskip("submitit", reason="the extra [slurm] is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # submitit's own handles


@pytest.fixture
def executor(tmp_path):
    executor = SlurmExecutor(2, tmp_path / "jobs", {}, cluster="local")
    yield executor
    executor.close()
    assert not (tmp_path / "jobs").exists()


def job(folder, seed=0, **shape):
    shape = {"params": 10, "pids": f"{folder}/pids", "gate": f"{folder}/gate"} | shape
    trial = Trial("seeds", shape, 1000, 10, 0.1, 100, seed=seed)
    return Job(trial.key({}), trial, 1, ProxySpec(TOY), f"{folder}/checkpoint-{seed}")


def last_event(executor):
    while isinstance(event := executor.next_event(), Progress):
        pass
    return event


def until(condition):
    give_up = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up, "it never came"
        time.sleep(0.02)


def test_jobs_end_as_inline_and_no_pickle_is_written(executor, tmp_path):
    jobs = [job(tmp_path, 0), job(tmp_path, 1, do="fail")]
    for each in jobs:
        executor.submit(each)
    ended = {event.key: event for event in (last_event(executor), last_event(executor))}
    well, badly = (ended[each.key] for each in jobs)
    inline = InlineExecutor()
    inline.submit(jobs[0])
    same = last_event(inline)
    inline.close()
    assert isinstance(well, Ended)
    assert (well.outcome.status, well.outcome.loss) == (Status.DONE, same.outcome.loss)
    assert repr(well.curve) == repr(same.curve)
    assert badly.outcome.status is Status.FAILED
    assert "ValueError: no such corpus" in badly.outcome.note
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".pkl", ".pickle")]
    with pytest.raises(RuntimeError, match="no job is left"):
        executor.next_event()


def test_a_killed_job_died_and_a_cancelled_one_died_with_its_note(executor, tmp_path):
    executor.submit(job(tmp_path, 0, do="wait"))
    until((tmp_path / "pids").exists)
    os.kill(int((tmp_path / "pids").read_text()), signal.SIGKILL)
    died = last_event(executor)
    assert isinstance(died, Died)
    assert "SLURM job" in died.note
    hanging = job(tmp_path, 1, do="hang")
    executor.submit(hanging)
    executor.cancel(hanging.key, "it hung")
    assert last_event(executor) == Died(hanging.key, 1, "it hung")


def test_without_slurm_a_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UsageError, match="there is no SLURM here"):
        SlurmExecutor(2, tmp_path / "jobs", {})


def test_a_trial_s_resources_become_sbatch_s(tmp_path, monkeypatch):
    scripts = tmp_path / "bin"
    scripts.mkdir()
    for name in ("srun", "sbatch", "scancel"):
        (scripts / name).write_text(f'#!/bin/sh\ncp "$1" {tmp_path}/{name}\necho Submitted job 7\n')
        (scripts / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{scripts}:{os.environ['PATH']}")
    executor = SlurmExecutor(1, tmp_path / "jobs", {"partition": "long", "time": 90})
    wants = Resources(cpus=8, gpus=2, memory=4 * 2**30)
    asked = job(tmp_path)
    executor.submit(Job(asked.key, asked.trial, 1, asked.proxy, "c", resources=wants))
    script = (tmp_path / "sbatch").read_text()
    for line in ("partition=long", "nodes=1", "cpus-per-task=8", "gpus-per-node=2", "time=90"):
        assert f"#SBATCH --{line}" in script
    assert "-m planner.sweep.slurm" in script
    executor._running.clear()
    executor.close()


def test_a_trial_with_a_gpu_trains_on_it(executor, tmp_path):
    executor.submit(replace(job(tmp_path), resources=Resources(gpus=0.5)))
    assert last_event(executor).device == "cuda:0"


def test_a_trial_over_several_nodes_is_sent_to_ray(executor, tmp_path):
    with pytest.raises(UsageError, match="planner launch slurm"):
        executor.submit(replace(job(tmp_path), resources=Resources(nodes=2)))
