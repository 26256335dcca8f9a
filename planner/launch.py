"""A sweep on somebody else's scheduler: a SLURM batch script, or a RayJob for KubeRay.

Both start Ray over the nodes they are given and then run ``planner sweep --executor ray``; the
study folder lies on storage all nodes share, so a job that is cut goes on where it stood when it is
submitted again. Nothing is submitted here. Every value enters a shell line quoted, or not at all.
"""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from planner._secrets import hide
from planner._yaml import write_yaml
from planner.errors import UsageError

PORT = 6379
"""Where Ray's head listens, unless told otherwise."""

PLAIN = re.compile(r"[\w.:,@%+/=-]+")
"""What an #SBATCH line may hold: it knows no quoting."""

MOUNT, SPACE_MOUNT = "/planner", "/planner-space"
"""Where the shared volume and the search space lie in every pod."""


@dataclass(frozen=True)
class Launch:
    """What to run and on what: per node ``cpus`` and ``gpus``, and ``memory`` such as 64Gi.

    ``options`` are sbatch's own (partition, time, account ...) or, for KubeRay, ``image`` (with
    planner installed) and ``volume`` (a PersistentVolumeClaim all pods may mount).
    """

    space: Path
    study: str
    out: str
    nodes: int = 1
    cpus: int = 8
    gpus: int = 0
    memory: str = ""
    options: dict[str, str] = field(default_factory=dict)
    sweep: tuple[str, ...] = ()
    python: str = sys.executable
    port: int = PORT


def launch_text(where: str, launch: Launch) -> str:
    """Return the script or manifest for ``slurm`` or ``kuberay``. Raises UsageError."""
    if min(launch.nodes, launch.cpus) < 1 or launch.gpus < 0:
        raise UsageError("a launch needs at least one node with one CPU, and no GPUs below zero")
    if where not in ("slurm", "kuberay"):
        raise UsageError(f"planner cannot launch on {where!r}: write slurm or kuberay")
    return slurm_script(launch) if where == "slurm" else rayjob_manifest(launch)


def slurm_script(launch: Launch) -> str:
    """Return a batch script for sbatch. Raises UsageError for options it cannot hold."""
    sbatch = {
        "job-name": f"planner-{launch.study}",
        "nodes": str(launch.nodes),
        "ntasks-per-node": "1",
        "cpus-per-task": str(launch.cpus),
        **({"gpus-per-node": str(launch.gpus)} if launch.gpus else {}),
        **({"mem": launch.memory} if launch.memory else {}),
        "signal": "B:TERM@120",
        **launch.options,
    }
    head = [f"#SBATCH --{_plain(name)}={_plain(value)}" for name, value in sbatch.items()]
    words = ["-m", "planner", "sweep", str(launch.space.resolve()), "--out", launch.out]
    values = {
        "PYTHON": shlex.quote(launch.python),
        "PORT": str(int(launch.port)),
        "CPUS": str(int(launch.cpus)),
        "GPUS": str(int(launch.gpus)),
        "NODES": str(int(launch.nodes)),
        "SWEEP": shlex.join([*words, "--executor", "ray", *launch.sweep]),
    }
    body = re.sub(r"@([A-Z]+)@", lambda match: values[match[1]], SCRIPT)
    return "\n".join(["#!/bin/bash", *head, body])


SCRIPT = """
# Starts Ray on every node of the allocation, then the sweep beside its head. Submit it again to go
# on with a study that was cut: sbatch sends SIGTERM two minutes before the time is over.
set -euo pipefail
export RAY_USAGE_STATS_ENABLED=0
# The nodes talk over the network: only who has this job's own token is let in.
export RAY_AUTH_MODE=token
export RAY_AUTH_TOKEN
RAY_AUTH_TOKEN=${RAY_AUTH_TOKEN:-$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')}
python=@PYTHON@
port=@PORT@
ray=("$python" -m ray.scripts.scripts)
room=(--num-cpus=@CPUS@ --num-gpus=@GPUS@ --disable-usage-stats --block)

count="import ray, sys; ray.init(address=sys.argv[1])
sys.exit(sum(node['Alive'] for node in ray.nodes()) < int(sys.argv[2]))"

started=()
sweep=
finish() {
    for process in "${started[@]}"; do kill -TERM "$process" 2>/dev/null || true; done
    for process in "${started[@]}"; do wait "$process" 2>/dev/null || true; done
}
trap finish EXIT
trap 'if [ -n "$sweep" ]; then kill -TERM "$sweep"; fi' TERM INT

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
run=(srun --overlap --nodes=1 --ntasks=1)
head=${nodes[0]}
address=$("${run[@]}" --nodelist="$head" hostname --ip-address)
address=${address%% *}

"${run[@]}" --nodelist="$head" "${ray[@]}" start --head --node-ip-address="$address" \\
    --port="$port" --include-dashboard=false "${room[@]}" &
started+=("$!")
for node in "${nodes[@]:1}"; do
    "${run[@]}" --nodelist="$node" "${ray[@]}" start --address="$address:$port" "${room[@]}" &
    started+=("$!")
done
for ((tries = 1; ; tries++)); do
    if "$python" -c "$count" "$address:$port" @NODES@ >/dev/null 2>&1; then break; fi
    if [ "$tries" -ge 60 ]; then echo "Ray has not come up on @NODES@ nodes" >&2; exit 1; fi
    sleep 2
done

"$python" @SWEEP@ --ray-address "$address:$port" &
sweep=$!
status=0
wait "$sweep" || status=$?
# A SIGTERM ends the first wait; the sweep saves its state before it ends itself.
if kill -0 "$sweep" 2>/dev/null; then wait "$sweep" || status=$?; fi
exit "$status"
"""


def rayjob_manifest(launch: Launch) -> str:
    """Return a ConfigMap with the search space and a RayJob that sweeps it, as YAML.

    Raises UsageError without an image.
    """
    image, volume = launch.options.get("image"), launch.options.get("volume")
    if not image or not volume:
        raise UsageError(
            "planner launch kuberay needs `--option image=...` (an image with planner installed) "
            "and `--option volume=...` (a PersistentVolumeClaim that every pod may mount)"
        )
    name = re.sub(r"[^a-z0-9-]+", "-", f"planner-{launch.study}".lower()).strip("-")[:47]
    space = {"name": f"{name}-space"}
    words = ["planner", "sweep", f"{SPACE_MOUNT}/space.yaml", "--out", f"{MOUNT}/{launch.out}"]
    words += ["--executor", "ray", "--ray-address", "auto", *launch.sweep]
    text = hide(launch.space.read_text(encoding="utf-8"))
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": space,
        "data": {"space.yaml": text},
    }
    cluster: dict[str, Any] = {
        "rayVersion": version("ray"),
        "headGroupSpec": {"rayStartParams": {}, "template": _pod("ray-head", launch, space)},
    }
    if launch.nodes > 1:
        count = launch.nodes - 1
        workers = {"groupName": "workers", "replicas": count, "minReplicas": count}
        workers |= {"maxReplicas": count, "rayStartParams": {}}
        cluster["workerGroupSpecs"] = [workers | {"template": _pod("ray-worker", launch, space)}]
    job = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": name},
        "spec": {
            "entrypoint": shlex.join(words),
            "submissionMode": "K8sJobMode",
            "shutdownAfterJobFinishes": True,
            "backoffLimit": 2,
            "rayClusterSpec": cluster,
        },
    }
    return f"{write_yaml(config)}---\n{write_yaml(job)}"


def _pod(name: str, launch: Launch, space: dict[str, str]) -> dict[str, Any]:
    """Return the template of one node's pod."""
    room = {"cpu": str(launch.cpus)} | ({"memory": launch.memory} if launch.memory else {})
    room |= {"nvidia.com/gpu": str(launch.gpus)} if launch.gpus else {}
    claim = {"claimName": launch.options["volume"]}
    return {
        "spec": {
            "containers": [
                {
                    "name": name,
                    "image": launch.options["image"],
                    "resources": {"limits": room, "requests": dict(room)},
                    "volumeMounts": [
                        {"name": "study", "mountPath": MOUNT},
                        {"name": "space", "mountPath": SPACE_MOUNT, "readOnly": True},
                    ],
                }
            ],
            "volumes": [
                {"name": "study", "persistentVolumeClaim": claim},
                {"name": "space", "configMap": dict(space)},
            ],
        }
    }


def _plain(text: str) -> str:
    if not PLAIN.fullmatch(text):
        raise UsageError(f"{text!r} cannot stand in an #SBATCH line: write letters and digits")
    return text
