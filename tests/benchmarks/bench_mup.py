"""Does muP do what it claims at proxy scale? Coordinate slopes, and lr* over widths, against sp.

    python -m tests.benchmarks.bench_mup            (about six minutes of one core, real text)

Coordinate check: slopes of ln RMS in ln width and ln depth after ten steps (|slope| < .1 passes).
LR transfer: a x2 grid of learning rates at four widths, the same tokens, batch and depth; lr* of a
width is the vertex of the three points round the best mean. d ln lr* / d ln width is about 0 where
lr transfers; the check's own question, ln lr* of the largest less that of the second width, has the
interval of both basins. Narrow models are noisy, so they get more seeds.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from planner.check.coordinate import measure_slopes
from planner.check.transfer import lr_shift, transfer_finding
from planner.proxies.gpt import GptProxy
from planner.run import Run, Schedule, Trial

CONTEXT, BATCH, STEPS = 64, 512, 200
SEEDS = {16: 4, 32: 3, 64: 2, 128: 2}
WIDTHS, DEPTHS = tuple(SEEDS), (2, 4, 8, 16)
RATES = {
    "sp": 0.001 * 2.0 ** np.arange(7),
    "mup": 0.004 * 2.0 ** np.arange(6),
}
BASE = {"sp": {}, "mup": {"base_width": 32}, "completep": {"base_width": 32, "base_depth": 2}}


class Silent:
    """A context that keeps nothing."""

    def __init__(self, folder: Path) -> None:
        self.checkpoint_dir, self.parent, self.device = folder, None, "cpu"

    def report(self, **_: float) -> None: ...


def proxy(name: str) -> GptProxy:
    data = {"source": "python-source", "tokens_needed": 2_000_000, "evaluation_tokens": 65_536}
    return GptProxy(data, context=CONTEXT, parametrization=name, **BASE[name])


def coordinates() -> None:
    print("slope of ln RMS after ten steps (90 % over seeds); * whole interval beyond .1")
    across = [{"width": width, "depth": 2} for width in WIDTHS]
    down = [{"width": 32, "depth": depth} for depth in DEPTHS]
    cases = [("sp", "width", across), ("mup", "width", across)]
    cases += [("mup", "depth", down), ("completep", "depth", down)]
    for name, axis, shapes in cases:
        found = measure_slopes(proxy(name), shapes, axis, lr=0.008, batch_tokens=BATCH)
        told = [
            f"{kind} {s.value:+.2f} [{s.low:+.2f},{s.high:+.2f}]{'*' * (kind in found.beyond())}"
            for kind, s in found.slopes.items()
        ]
        print(f"  {name:9s} {axis:5s} {found.seeds:2d} seeds  {'  '.join(told)}", flush=True)


def train(name: str, width: int, lr: float, seed: int) -> Run:
    chosen = proxy(name)
    shape = {"width": width, "depth": 2}
    trial = Trial(
        *("bench", shape, STEPS * BATCH, BATCH, float(lr), 10 * BATCH),
        schedule=Schedule("wsd", 0.2),
        seed=seed,
    )
    with tempfile.TemporaryDirectory() as folder:
        end = chosen.train(trial, Silent(Path(folder)))
    key, size = trial.key(chosen.recipe()), chosen.size(shape)
    return Run(trial, key, end.status, end.loss, end.loss_se, size, end.tokens, 0.0)


def transfer(name: str) -> None:
    runs = {
        width: [train(name, width, lr, seed) for lr in RATES[name] for seed in range(seeds)]
        for width, seeds in SEEDS.items()
    }
    print(f"{name}: mean loss by learning rate")
    print("  width  " + "  ".join(f"{lr:6.3f}" for lr in RATES[name]))
    means, best = {}, []
    for width, found in runs.items():
        losses = np.array([run.loss for run in found]).reshape(len(RATES[name]), -1).mean(1)
        means[width] = losses
        print(f"  {width:5d}  " + "  ".join(f"{loss:6.3f}" for loss in losses), flush=True)
        best.append(_vertex(np.log(RATES[name]), losses))
    slope, upper = (np.polyfit(np.log(WIDTHS[i:]), best[i:], 1)[0] for i in (0, 1))
    print("  lr*    " + "  ".join(f"{np.exp(x):.4f}" for x in best))
    everything = [run for found in runs.values() for run in found]
    shift = lr_shift(everything)
    assert shift is not None
    delta = shift[0]
    print(
        f"  d ln lr* / d ln width {slope:+.2f}, from {WIDTHS[1]} on {upper:+.2f}; "
        f"{WIDTHS[-2]} to {WIDTHS[-1]}: "
        f"{delta.value:+.2f} [{delta.low:+.2f}, {delta.high:+.2f}]"
    )
    sizes = [found[0].size for found in runs.values()]
    finding = transfer_finding(everything, sizes, STEPS * BATCH, name)
    print(f"  {finding.severity.value}: {finding.what}")
    wide = means[WIDTHS[-1]]
    costs = [np.interp(x, np.log(RATES[name]), wide) - np.nanmin(wide) for x in best[:-1]]
    told = ", ".join(f"{width}: {cost:.3f}" for width, cost in zip(WIDTHS, costs, strict=False))
    print(f"  nats lost at width {WIDTHS[-1]} with the lr* of width {told}")


def _vertex(x: np.ndarray, loss: np.ndarray) -> float:
    """Vertex of the parabola through the three points round the best, clipped to them."""
    at = int(np.clip(np.nanargmin(loss), 1, len(x) - 2))
    a, b, _ = np.polyfit(x[at - 1 : at + 2], loss[at - 1 : at + 2], 2)
    return float(np.clip(-b / (2 * a), x[at - 1], x[at + 1]) if a > 0 else x[np.nanargmin(loss)])


def main() -> None:
    began = time.process_time()
    coordinates()
    for name in ("sp", "mup"):
        transfer(name)
    print(f"{time.process_time() - began:.0f} CPU seconds")


if __name__ == "__main__":
    main()
