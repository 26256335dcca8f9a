"""What two packages from PyPI do with the same points; bench_solve runs this beside it.

Reads {params, tokens, loss} as JSON on stdin, prints one JSON object: CPU seconds and the losses of
the law found. simple-scaling-laws 0.2: separable power, least squares on the loss. chinchilla 0.2:
BFGS from a grid of starts, here 2^5, log-Huber 1e-3. A package that is missing is named as such.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time

import numpy as np


def cpu() -> float:
    """Seconds of this process and of those it started."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def simple_scaling_laws(data: dict[str, list[float]], draws: int) -> dict[str, object]:
    import polars
    from simple_scaling_laws import fit
    from simple_scaling_laws.fitting import fit_curve, parameter_bounds
    from simple_scaling_laws.laws import build_law

    names = ["model_size__n_params", "dataset_size__n_tokens"]
    law = build_law("separable-power", names[:1], names[1:])
    x = np.log(np.column_stack([data["params"], data["tokens"]]))
    x, y = x - x.mean(axis=0), np.asarray(data["loss"])
    bounds = parameter_bounds(law, y, signed_amplitude=False, log_x=x)
    cold = []
    for _ in range(4):
        start = time.process_time()
        found = fit_curve(law, x, y, np.ones_like(y), bounds)
        cold.append(time.process_time() - start)
    n = len(y)
    frame = polars.DataFrame(
        {
            "training_run_id": [f"r{i}" for i in range(n)],
            "train_set_id": [f"t{i}" for i in range(n)],
            "test_set_id": ["e"] * n,
            "optimizer_seed": list(range(n)),
            names[0]: data["params"],
            names[1]: data["tokens"],
            "test_loss__cross_entropy": data["loss"],
        }
    )
    start = cpu()
    fit(frame, n_draws=draws)
    return {
        "cold_s": float(np.median(cold[1:])),
        "draws": draws,
        "draws_s": cpu() - start,
        "loss": law.evaluate(found.params, x).tolist(),
    }


def chinchilla(data: dict[str, list[float]], _draws: int) -> dict[str, object]:
    from chinchilla import Chinchilla
    from chinchilla._metrics import log_huber

    grid = {
        "e": [0.0, 1.0],
        "a": [4.0, 8.0],
        "b": [4.0, 8.0],
        "alpha": [0.2, 0.5],
        "beta": [0.2, 0.5],
    }
    with tempfile.TemporaryDirectory() as folder:
        made = Chinchilla(
            folder, grid, loss_fn=lambda true, law: log_huber(true, law, 1e-3), log_level=50
        )
        for n, d, loss in zip(data["params"], data["tokens"], data["loss"], strict=True):
            made.append(C=6 * n * d, N=n, D=d, loss=loss)
        made.visualizer.optim = lambda *_args, **_options: None
        start = cpu()
        made.fit(parallel=False)
        spent = cpu() - start
    size, tokens = np.asarray(data["params"]), np.asarray(data["tokens"])
    loss = made.E + made.A * size**-made.alpha + made.B * tokens**-made.beta
    return {"cold_s": spent, "loss": np.asarray(loss, float).tolist()}


def main() -> None:
    data = json.load(sys.stdin)
    out: dict[str, object] = {}
    for run in (simple_scaling_laws, chinchilla):
        try:
            out[run.__name__] = run(data, 4000)
        except ImportError as missing:
            out[run.__name__] = {"missing": str(missing)}
    sys.__stdout__.write(json.dumps(out) + "\n")


if __name__ == "__main__":
    main()
