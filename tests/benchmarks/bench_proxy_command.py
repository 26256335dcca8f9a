"""The command proxy: what it adds to a command, and whole sweeps of other people's trainers.

Overhead: a command that does nothing, started alone and as a trial, in turn; medians, one run.
Trainers: litgpt and Hugging Face's Trainer as they come from the registry, each in an environment
of its own (made here once, about a gigabyte each), on the bytes of this Python's standard library:
a search space as shipped, `planner sweep` to its report: ten CPU minutes each.

    python -m tests.benchmarks.bench_proxy_command [FOLDER] [overhead] [litgpt] [transformers]
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from pathlib import Path
from statistics import median
from types import SimpleNamespace

from planner.proxies.command import CommandProxy
from planner.run import Trial

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "results/bench_proxy_command"
TARGET_MS = 50.0
REPEATS = 60
SHARE = 0.9

PACKAGES = {
    "litgpt": ("torch==2.13.0", "litgpt==0.5.13", "requests"),
    "transformers": ("torch==2.13.0", "transformers==5.23.0", "accelerate==1.15.0"),
}
"""What goes into whose environment: the two do not bear each other. requests is missing from
litgpt's own list."""


def main(*words: str) -> None:
    """Print the figures of all parts, or of those named."""
    parts = {"overhead", *PACKAGES}
    folder = next((Path(word) for word in words if word not in parts), FOLDER).resolve()
    chosen = [word for word in words if word in parts] or ["overhead", *PACKAGES]
    if "overhead" in chosen:
        overhead()
    for name in PACKAGES:
        if name in chosen:
            sweep(name, folder)


def overhead() -> None:
    """Print what a trial costs beyond its command, with and without files to read."""
    code = "print('{\"final_loss\": 1.0}')"
    argv = [sys.executable, "-S", "-c", code]
    alone, trials = [], []
    trial = Trial("bench", {"params": 10}, 1000, 10, 0.1, 0)
    proxy = CommandProxy({}, argv=argv)
    watching = CommandProxy({}, argv=argv, reports="{out}/log.csv*")
    with tempfile.TemporaryDirectory() as folder:
        for index in range(REPEATS):
            alone.append(_seconds(lambda: subprocess.run(argv, check=True, capture_output=True)))
            ctx = SimpleNamespace(checkpoint_dir=Path(folder) / str(index), device="cpu")
            ctx.report, ctx.heed = lambda **_: None, lambda: None
            (ctx.checkpoint_dir / "out").mkdir(parents=True)
            shutil.copy(__file__, ctx.checkpoint_dir / "out/log.csv")
            both = [_seconds(lambda p=p, c=ctx: p.train(trial, c)) for p in (proxy, watching)]
            trials.append(both)
    bare = median(alone)
    for name, seconds in zip(
        ("JSON lines", "and a CSV file"), zip(*trials, strict=True), strict=True
    ):
        more = 1e3 * (median(seconds) - bare)
        print(
            f"overhead, {name}: {1e3 * median(seconds):.1f} ms a trial, the bare command "
            f"{1e3 * bare:.1f} ms: {more:+.1f} ms (target at most {TARGET_MS:.0f})"
        )


def sweep(name: str, folder: Path) -> None:
    """Sweep a shipped search space with a real trainer; print minutes and what came of it."""
    if (python := _environment(name, folder)) is None:
        return
    place = _workplace(folder)
    study = place / name
    shutil.rmtree(study, ignore_errors=True)
    command = [sys.executable, "-m", "planner", "sweep", str(ROOT / f"search_spaces/{name}.yaml")]
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}
    with (place / f"{name}.log").open("wb") as log:
        began = time.monotonic()
        done = subprocess.run([*command, "--out", str(study)], cwd=place, env=env, stderr=log)
    minutes = (time.monotonic() - began) / 60
    runs = [json.loads(line) for line in (study / "runs.jsonl").read_text().splitlines()]
    states = {run["status"]: sum(r["status"] == run["status"] for r in runs) for run in runs}
    inside = sum(run["seconds"] for run in runs) / 60
    print(
        f"{name}: {len(runs)} trials ({states}) in {minutes:.1f} minutes, {inside:.1f} minutes of "
        f"trials on two workers; exit code {done.returncode}"
    )
    report = study / "report.md"
    print("\n".join(report.read_text().splitlines()[:12]) if report.exists() else "no report")


def _environment(name: str, folder: Path) -> Path | None:
    """Return the interpreter of a trainer's environment, made if need be; None where it cannot."""
    place = folder / f"venv-{name}"
    python, ready = place / "bin/python", place / "ready"
    if ready.exists():
        return python
    began = time.monotonic()
    try:
        venv.create(place, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "--quiet", *PACKAGES[name]]
        subprocess.run(install, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"{name}: skipped, its environment could not be installed: {error}")
        return None
    ready.touch()
    print(f"{name}: an environment of its own in {(time.monotonic() - began) / 60:.1f} minutes")
    return python


def _workplace(folder: Path) -> Path:
    """Return a folder with the data and the scripts the search spaces name."""
    place = folder / "work"
    place.mkdir(parents=True, exist_ok=True)
    library = Path(sysconfig.get_paths()["stdlib"])
    text = b"".join(file.read_bytes() for file in sorted(library.glob("*.py")))
    cut = int(SHARE * len(text))
    (place / "train.bin").write_bytes(text[:cut])
    (place / "validation.bin").write_bytes(text[cut:])
    for script in (Path(__file__).parent / "trainers").glob("*.py"):
        shutil.copy(script, place)
    return place


def _seconds(work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main(*sys.argv[1:])
