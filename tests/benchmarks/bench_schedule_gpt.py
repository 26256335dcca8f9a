"""Schedule laws on real runs of the gpt proxy: a trunk, a cosine and a fork predict two others.

Tiny byte models on public-domain books, one CPU core, two minutes. Judged by the mean of the last
tenth of the training losses of the two schedules no law has seen; their noise is told beside.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path as Folder

import numpy as np

from planner.curve import Curve
from planner.fit.schedule import (
    fit_group,
    schedule_lines,
    trace_of,
    traces_of_runs,
)
from planner.proxies.gpt import GptProxy
from planner.run import Run, Schedule, Status, Trial
from tests.proxies.recorder import Recorder

CORPUS = Folder("../shared/data/corpora")
BATCH, STEPS = 1_024, 2_000
SHAPE = {"width": 32, "depth": 2}


def trial(steps: int, schedule: Schedule, **changes) -> Trial:
    start = Trial("bench", SHAPE, steps * BATCH, BATCH, 0.01, 100 * BATCH, schedule)
    return replace(start, **changes)


def trials() -> dict[str, Trial]:
    """Return the runs: three that are fitted, then two that are predicted."""
    early, late = STEPS // 2 * BATCH, STEPS * 4 // 5 * BATCH
    fork = Schedule("wsd", 0.2)
    return {
        "trunk": trial(STEPS, Schedule("constant"), keep_at=(STEPS * 2 // 5 * BATCH, late)),
        "cosine": trial(STEPS * 3 // 4, Schedule("cosine", 0.0, 0.1)),
        "fork": trial(early // BATCH, fork, parent="trunk", fork_at=STEPS * 2 // 5 * BATCH),
        "late fork": trial(STEPS, fork, parent="trunk", fork_at=late),
        "linear": trial(STEPS, Schedule("linear")),
    }


def train(proxy: GptProxy, folder: Folder, name: str, what: Trial) -> tuple[Run, Curve]:
    parent = folder / what.parent if what.parent else None
    ctx = Recorder(folder / name, parent)
    done = proxy.train(what, ctx)
    size = proxy.size(what.shape)
    run = Run(what, name, Status.DONE, done.loss, done.loss_se, size, done.tokens, 0.0)
    columns = [np.array([point[key] for point in ctx.curve]) for key in ("tokens", "lr", "loss")]
    nothing = np.full(len(columns[0]), np.nan)
    return run, Curve(name, columns[0].astype(float), nothing, *columns[1:])


def corpus(folder: Folder) -> dict[str, str | int]:
    """Write bytes as tokens, the shortest way to a corpus."""
    data: dict[str, str | int] = {"evaluation_tokens": 65_536, "vocab": 256}
    for key, name in (("tokens", "classics_train.txt"), ("validation", "classics_val.txt")):
        text = np.fromfile(CORPUS / name, dtype=np.uint8)[
            : 6_000_000 if key == "tokens" else 400_000
        ]
        text.astype(np.uint16).tofile(folder / f"{key}.bin")
        data[key] = str(folder / f"{key}.bin")
    return data


def main() -> None:
    if not CORPUS.is_dir():
        print(f"skipped: {CORPUS} is absent")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Folder(name)
        os.environ["PLANNER_CACHE"] = str(folder / "cache")
        proxy, begin = GptProxy(corpus(folder)), time.process_time()
        made = {key: train(proxy, folder, key, what) for key, what in trials().items()}
    print(f"five runs in {time.process_time() - begin:.0f} CPU s")
    fitted = [made[key] for key in ("trunk", "cosine", "fork")]
    fit, found = fit_group(traces_of_runs([r for r, _ in fitted], [c for _, c in fitted]))
    print(*(finding.what for finding in found), *schedule_lines(fit), sep="\n")
    trunk = made["trunk"][1]
    for key in ("late fork", "linear"):
        run, curve = made[key]
        trace = trace_of(curve, trunk if run.trial.parent else None, run.trial.fork_at)
        told = fit.predict(trace.path, trace.at)
        last = slice(-max(8, len(trace.at) // 10), None)
        noise = np.std(np.diff(trace.loss[last])) / np.sqrt(2)
        count = len(trace.loss[last])
        print(
            f"{key}: predicted {told.loss[last].mean():.4f} "
            f"[{told.low[last].mean():.4f}, {told.high[last].mean():.4f}], measured "
            f"{trace.loss[last].mean():.4f} +- {noise / np.sqrt(count):.4f}, "
            f"trunk at its end {trunk.loss[-count:].mean():.4f}"
        )


if __name__ == "__main__":
    main()
