"""Figures of learning rate and batch: the basins at the anchor, and the laws up to the target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from planner.arrays import Floats
from planner.estimate import Estimate
from planner.fit.cells import Cell
from planner.fit.hyper_fit import HyperFit
from planner.plan.plan import Plan
from planner.report import text
from planner.report.figures.frame import BLUE, GREY, RED, axes, human_log, series
from planner.report.study import ReportInput
from planner.run import Run
from planner.shape import Size

NO_HYPER = "What this report was made from holds no sweep of learning rates."
POINTS = 25
APART = 0.05
"""Shift in ln N between cells of one size and different batches, so that their bars stand apart."""


def basins(study: ReportInput) -> Figure | str:
    """Loss against learning rate, a basin per batch, at the size and horizon with most of them."""
    if study.hyper is None or not study.hyper.cells or not study.runs:
        return NO_HYPER
    cells = _anchor(study.hyper.cells)
    runs = {run.key: run for run in study.runs}
    figure, (panel,) = axes()
    for cell, (_, colour, marker) in zip(cells, _colours(cells), strict=True):
        _basin(panel, cell, [runs[key] for key in cell.keys if key in runs], colour, marker)
    losses = [r.loss for c in cells for k in c.keys if (r := runs.get(k)) and r.done]
    spread = max(losses) - min(losses)
    panel.set_ylim(min(losses) - 0.1 * spread, max(losses) + 0.15 * spread)
    panel.set(xlabel="peak learning rate", ylabel="validation loss (nats per token)")
    panel.set_title(
        f"{text.count(cells[0].params)} parameters, {text.count(cells[0].tokens)} tokens",
        fontsize=10,
    )
    human_log(panel.xaxis)
    panel.legend(title="batch (tokens)", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def transfer(study: ReportInput) -> Figure | str:
    """Best learning rate against size and best batch against tokens, from the cells to the plan."""
    if study.hyper is None or not study.hyper.cells:
        return NO_HYPER
    figure, (left, right) = axes(2, height=4.0)
    _rates(left, study.hyper, study.plan)
    _batches(right, study.hyper, study.plan)
    left.set(xlabel=f"parameters ({study.hyper.n_convention})", ylabel="best peak learning rate")
    right.set(xlabel="tokens of the run", ylabel="best batch (tokens)")
    for axis in (left.xaxis, left.yaxis, right.xaxis, right.yaxis):
        human_log(axis)
    handles = {h.get_label(): h for p in (left, right) for h in p.get_legend_handles_labels()[0]}
    labels = [str(label) for label in handles]
    figure.legend(list(handles.values()), labels, loc="outside upper center", ncols=4)
    return figure


def _basin(panel: Axes, cell: Cell, runs: Sequence[Run], colour: str, marker: str) -> None:
    """Draw the runs of a cell, its two half parabolas and the interval of its minimum."""
    done = [run for run in runs if run.done]
    lost = [run.trial.lr for run in runs if not run.done]
    basin = cell.basin
    x = np.linspace(np.log(cell.tested[0]) - 0.2, np.log(cell.tested[1]) + 0.2, 100)
    log_k = np.where(x < basin.x, basin.log_k_low.mean, basin.log_k_high.mean)
    panel.plot(np.exp(x), basin.floor + np.exp(log_k) * (x - basin.x) ** 2, color=colour, lw=1)
    panel.plot([r.trial.lr for r in done], [r.loss for r in done], marker, color=colour, ms=5,
               label=text.count(cell.batch_tokens))  # fmt: skip
    ends = np.exp([basin.low, basin.high])
    panel.plot(ends, [basin.floor] * 2, "|-", color=colour, lw=3, alpha=0.5, ms=9)
    panel.plot(lost, [0.97] * len(lost), "x", color=colour, ms=7, mew=2,
               transform=panel.get_xaxis_transform())  # fmt: skip


def _rates(panel: Axes, hyper: HyperFit, plan: Plan) -> None:
    params, tokens, batch = _path(hyper, plan)
    law = [hyper.lr(s, d, b) for s, d, b in zip(params, tokens, batch, strict=True)]
    x = np.array([getattr(size, hyper.n_convention) for size in params])
    _law(panel, x, law)
    places = sorted({cell.batch_tokens for cell in hyper.cells})
    for cell, (_, colour, marker) in zip(hyper.cells, _colours(hyper.cells), strict=True):
        shift = np.exp(APART * (places.index(cell.batch_tokens) - (len(places) - 1) / 2))
        best = _best(cell.basin.x, cell.basin.low, cell.basin.high)
        _bar(panel, cell.params * shift, best, colour, marker)
    _bar(panel, x[-1], plan.decision("lr").estimate, RED, "*", label="planned run")


def _batches(panel: Axes, hyper: HyperFit, plan: Plan) -> None:
    params, tokens, _ = _path(hyper, plan)
    law = [hyper.batch(size, d) for size, d in zip(params, tokens, strict=True)]
    _law(panel, tokens, law)
    for sweep in hyper.batch_sweeps:
        best = _best(sweep.basin.x, sweep.basin.low, sweep.basin.high)
        _bar(panel, sweep.tokens, best, "black", "o", label="own sweeps")
        panel.plot([sweep.tokens] * len(sweep.tested), sweep.tested, "_", color=GREY, ms=9)
    _bar(panel, tokens[-1], plan.decision("batch_tokens").estimate, RED, "*", label="planned run")


def _law(panel: Axes, x: Floats, law: Sequence[Estimate]) -> None:
    low, high = [e.low for e in law], [e.high for e in law]
    panel.fill_between(x, low, high, color=BLUE, alpha=0.2, lw=0, label="90 % predictive")
    panel.plot(x, [e.value for e in law], color=BLUE, label="fitted law")


def _bar(
    panel: Axes, x: float, best: Estimate, colour: str, marker: str, label: str | None = None
) -> None:
    """Draw an estimate as a marker with its interval."""
    ends = [[best.value - best.low], [best.high - best.value]]
    size = 12 if marker == "*" else 5
    panel.errorbar([x], [best.value], yerr=ends, fmt=marker, color=colour, ms=size, capsize=3,
                   lw=1.2, label=label)  # fmt: skip


def _path(hyper: HyperFit, plan: Plan) -> tuple[list[Size], Floats, Floats]:
    """Return sizes, tokens (n,) and batches (n,) on a straight path in logs, anchor to plan."""
    cell = min(_anchor(hyper.cells), key=lambda one: one.basin.floor)
    target = Size(**plan.size)
    start = (cell.params, cell.params_non_embedding, cell.params, cell.flops / cell.tokens)
    end = (target.params_matmul, target.params_non_embedding, target.params_total,
           target.flops_per_token)  # fmt: skip
    run = [plan.decision(name).estimate.value for name in ("tokens", "batch_tokens")]
    first = np.log([*start, cell.tokens, cell.batch_tokens])
    steps = np.linspace(0, 1, POINTS)[:, None]
    path = np.exp(first + steps * (np.log([*end, *run]) - first))
    return [Size(*row[:4]) for row in path.tolist()], path[:, 4], path[:, 5]


def _anchor(cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells of the size and horizon that has most of them."""
    places = Counter((cell.params, cell.tokens) for cell in cells)
    place = max(places, key=lambda where: (places[where], -where[0], -where[1]))
    return [cell for cell in cells if (cell.params, cell.tokens) == place]


def _colours(cells: Sequence[Cell]) -> list[tuple[float, str, str]]:
    """Return batch, colour and marker of every cell."""
    known = {entry[0]: entry for entry in series([cell.batch_tokens for cell in cells])}
    return [known[cell.batch_tokens] for cell in cells]


def _best(x: float, low: float, high: float) -> Estimate:
    """Turn a basin's minimum in ln units into an estimate."""
    low, value, high = np.exp([min(low, x), x, max(high, x)]).tolist()
    return Estimate(value, low, high)
