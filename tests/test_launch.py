"""What `planner launch` writes: shells and Kubernetes read it, and its own commands start Ray."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from planner.errors import UsageError
from planner.launch import Launch, launch_text
from tests.studies import TEXT

HOSTILE = "results/$(touch ran) `touch ran`; touch ran '\" && #"

OBJECT, TEXT_, COUNT, YES, LIST = dict, str, int, bool, list
JOB = {
    "entrypoint": TEXT_,
    "submissionMode": TEXT_,
    "shutdownAfterJobFinishes": YES,
    "backoffLimit": COUNT,
    "rayClusterSpec": OBJECT,
}
CLUSTER = {"rayVersion": TEXT_, "headGroupSpec": OBJECT, "workerGroupSpecs": LIST}
HEAD = {"rayStartParams": OBJECT, "template": OBJECT}
WORKERS = HEAD | {"groupName": TEXT_, "replicas": COUNT, "minReplicas": COUNT, "maxReplicas": COUNT}
"""The fields used, with their types: KubeRay's API reference of ray.io/v1, RayJob."""


@pytest.fixture
def launch(tmp_path) -> Launch:
    space = tmp_path / "my space.yaml"
    space.write_text(TEXT)
    return Launch(space, "small", HOSTILE, nodes=2, cpus=1, memory="64G")


def test_the_script_passes_bash_and_shellcheck(launch, tmp_path):
    script = tmp_path / "job.sbatch"
    options = {"partition": "long", "time": "1-12:00:00"}
    script.write_text(launch_text("slurm", replace(launch, gpus=8, options=options)))
    for line in ("--nodes=2", "--gpus-per-node=8", "--partition=long", "--time=1-12:00:00"):
        assert f"#SBATCH {line}\n" in script.read_text()
    checker = shutil.which("shellcheck", path=str(Path(sys.executable).parent))
    for command in (["bash", "-n"], *([[checker, "--severity=warning"]] if checker else [])):
        done = subprocess.run([*command, script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("value", ["long\n#SBATCH --exclusive", "$(touch ran)", "", "a b"])
def test_a_batch_option_that_cannot_be_quoted_is_refused(launch, value):
    with pytest.raises(UsageError, match="cannot stand in an #SBATCH line"):
        launch_text("slurm", replace(launch, options={"partition": value}))


def test_what_cannot_be_launched_is_refused(launch):
    with pytest.raises(UsageError, match="write slurm or kuberay"):
        launch_text("nomad", launch)
    with pytest.raises(UsageError, match="at least one node"):
        launch_text("slurm", replace(launch, nodes=0))
    with pytest.raises(UsageError, match="needs `--option image="):
        launch_text("kuberay", launch)


def test_the_manifest_is_a_ray_job_field_by_field(launch, tmp_path):
    options = {"image": "registry/planner:1", "volume": "claim"}
    asked = replace(launch, gpus=2, memory="64Gi", options=options, sweep=("--set", "seed=1 2"))
    config, job = YAML(typ="safe").load_all(launch_text("kuberay", asked))
    assert (config["apiVersion"], config["kind"]) == ("v1", "ConfigMap")
    assert config["data"]["space.yaml"] == TEXT
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    (workers,) = cluster["workerGroupSpecs"]
    head = cluster["headGroupSpec"]
    told = [(job["spec"], JOB), (cluster, CLUSTER), (head, HEAD), (workers, WORKERS)]
    for given, fields in told:
        assert {name: type(value) for name, value in given.items()} == fields
    assert workers["replicas"] == workers["minReplicas"] == workers["maxReplicas"] == 1
    for group in (head, workers):
        (container,) = group["template"]["spec"]["containers"]
        assert container["image"] == "registry/planner:1"
        limits = {"cpu": "1", "memory": "64Gi", "nvidia.com/gpu": "2"}
        assert container["resources"] == {"limits": limits, "requests": limits}
        volumes = {volume["name"]: volume for volume in group["template"]["spec"]["volumes"]}
        assert volumes["study"]["persistentVolumeClaim"] == {"claimName": "claim"}
        assert volumes["space"]["configMap"]["name"] == config["metadata"]["name"]
        assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
    echoed = f"planner() {{ printf '%s\\n' \"$@\"; }}; {job['spec']['entrypoint']}"
    said = subprocess.run(
        ["bash", "-c", echoed], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    words = said.stdout.splitlines()
    assert words[:2] == ["sweep", "/planner-space/space.yaml"]
    assert f"/planner/{HOSTILE}" in words
    assert words[-2:] == ["--set", "seed=1 2"]
    assert not (tmp_path / "ran").exists()


STUBS = {
    "srun": 'while [ "${1#-}" != "$1" ]; do shift; done\nexec "$@"',
    "scontrol": "echo 127.0.0.1\necho 127.0.0.1",
    "hostname": "echo 127.0.0.1",
}
PYTHON = """#!/bin/bash
# Stands for the interpreter: the sweep itself only says how it was called and what it found.
if [ "$2" = planner ]; then
    printf '%s\\n' "$@" > "$FOUND"
    address=${!#}
    exec REAL -c "import ray, sys; ray.init(address=sys.argv[1])
print('found', sum(n['Alive'] for n in ray.nodes()), ray.cluster_resources()['CPU'])" "$address"
fi
exec REAL "$@"
"""


@pytest.mark.ray
def test_the_script_s_own_commands_start_ray_and_leave_nothing(launch, tmp_path):
    stubs = STUBS | {"python": PYTHON.replace("REAL", sys.executable)}
    for name, text in stubs.items():
        file = tmp_path / name
        file.write_text(text if text.startswith("#!") else f"#!/bin/bash\n{text}\n")
        file.chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    asked = replace(launch, memory="", python=str(tmp_path / "python"), port=port)
    (tmp_path / "job.sbatch").write_text(launch_text("slurm", asked))
    mark = f"RAY_TMPDIR=/tmp/launch-{os.getpid()}"
    name, _, folder = mark.partition("=")
    path = f"{tmp_path}:{os.environ['PATH']}"
    here = {"PATH": path, "SLURM_JOB_NODELIST": "x", "FOUND": str(tmp_path / "found"), name: folder}
    Path(folder).mkdir()
    try:
        with (tmp_path / "out").open("w") as out:
            done = subprocess.run(
                ["bash", tmp_path / "job.sbatch"],
                env=os.environ | here,
                cwd=tmp_path,
                stdout=out,
                stderr=out,
                check=False,
                timeout=120,
            )
        give_up = time.monotonic() + 30
        while left := _with(mark):
            assert time.monotonic() < give_up, f"left behind: {left}"
            time.sleep(0.2)
    finally:
        for process in _with(mark):
            os.kill(process, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
    said = (tmp_path / "out").read_text()
    assert done.returncode == 0, said
    assert "found 2 2.0" in said
    words = (tmp_path / "found").read_text().splitlines()
    assert words[:3] == ["-m", "planner", "sweep"]
    assert words[words.index("--out") + 1] == HOSTILE
    assert words[-2:] == ["--ray-address", f"127.0.0.1:{port}"]
    assert not (tmp_path / "ran").exists()


def _with(mark: str) -> list[int]:
    """Return the processes that were started under an environment variable."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:
            pass
    return found
