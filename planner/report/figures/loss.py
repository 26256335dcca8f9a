"""Figures of the loss law: against compute, over size, residuals, predicted and measured."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from planner.arrays import Floats
from planner.observations import Observations
from planner.report import text
from planner.report.figures.frame import (
    BLUE,
    GREEN,
    GREY,
    MARKERS,
    ORANGE,
    RED,
    axes,
    human_log,
    series,
)
from planner.report.figures.surface import Surface
from planner.report.study import ReportInput

Rows: TypeAlias = npt.NDArray[np.intp]
LEVEL_WIDTH = 1.3
"""Runs whose compute lies within this ratio are drawn on one curve of equal compute."""
LEVELS = 4
NO_RUNS = "The runs the law was fitted to are not part of what this report was made from."


def against_compute(study: ReportInput) -> Figure | str:
    """Loss against compute: runs, frontier with its predictive band, what lies beyond the runs."""
    seen = study.fitted
    if seen is None:
        return NO_RUNS
    figure, (panel,) = axes(height=4.2)
    surface = Surface.of(study.fit, study.plan, seen)
    top = max(study.plan.flops, seen.flops.max())
    flops = np.geomspace(seen.flops.min() / 1.5, top * 2, 80)
    sizes = surface.frontier(flops)
    band = study.fit.predict(sizes, surface.tokens(sizes, flops), flops=flops)
    panel.axvspan(seen.flops.max(), flops[-1], color=GREY, alpha=0.1, lw=0)
    low, high = [b.low for b in band], [b.high for b in band]
    panel.fill_between(flops, low, high, color=BLUE, alpha=0.2, lw=0, label="90 % predictive")
    panel.plot(flops, [b.value for b in band], color=BLUE, label="best size at each compute")
    _points(panel, seen, seen.flops, seen.loss)
    held = [run for run in study.in_stage("held_out") if run.done]
    if held:
        x, y = [run.flops for run in held], [run.loss for run in held]
        panel.plot(x, y, "D", color=ORANGE, ms=6, mec="black", mew=0.6, label="held-out rung")
    _target(panel, study, study.plan.flops)
    panel.set(xlim=(flops[0], flops[-1]), xlabel="compute of the run (FLOPs)")
    panel.set_ylabel("validation loss (nats per token)")
    human_log(panel.xaxis, scientific=True)
    panel.text(
        seen.flops.max() * 1.15, 0.02, "extrapolation", color=GREY,
        transform=panel.get_xaxis_transform(), fontsize=9,
    )  # fmt: skip
    panel.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def over_size(study: ReportInput) -> Figure | str:
    """Loss over size at fixed compute: the levels of the ladder, and the target with its flat."""
    seen = study.fitted
    if seen is None:
        return NO_RUNS
    figure, (panel,) = axes(height=4.2)
    surface = Surface.of(study.fit, study.plan, seen)
    levels = _levels(seen)
    colours = series([level for level, _ in levels])
    fitted = surface.loss_of(seen)
    for (level, rows), (_, colour, marker) in zip(levels, colours, strict=True):
        best = _isoflop(panel, surface, level, colour)
        moved = surface.loss(seen.params[rows], surface.tokens(seen.params[rows], level))
        moved = moved * seen.loss[rows] / fitted[rows]
        label = f"{text.flops(level)}, best {text.count(best)}"
        panel.plot(seen.params[rows], moved, marker, color=colour, ms=5, label=label)
    _isoflop(panel, surface, study.plan.flops, RED)
    panel.axvspan(
        *study.plan.flat_region_params, color=GREEN, alpha=0.15, lw=0, label="flat region"
    )
    _target(panel, study, study.plan.decision("params").estimate.value)
    panel.set(xlabel=f"parameters ({study.fit.n_convention})")
    panel.set_ylabel("validation loss (nats per token)")
    human_log(panel.xaxis)
    panel.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def residuals(study: ReportInput) -> Figure | str:
    """Residuals of the ladder in per cent of the loss, against tokens and against size."""
    seen = study.fitted
    if seen is None:
        return NO_RUNS
    figure, panels = axes(2, height=3.2)
    fitted = Surface.of(study.fit, study.plan, seen).loss_of(seen)
    errors = 100 * (seen.loss / fitted - 1)
    names = ("tokens of the run", f"parameters ({study.fit.n_convention})")
    for panel, x, name in zip(panels, (seen.tokens, seen.params), names, strict=True):
        panel.axhspan(-100 * study.fit.sigma, 100 * study.fit.sigma, color=BLUE, alpha=0.12, lw=0)
        panel.axhline(0, color=BLUE, lw=1)
        _points(panel, seen, x, errors, legend=panel is panels[0])
        panel.set(xlabel=name)
        human_log(panel.xaxis)
    panels[0].set_ylabel("residual (% of the loss)")
    title = "parameters" if len(set(seen.params)) <= len(MARKERS) else None
    figure.legend(loc="outside upper center", ncols=5, title=title)
    return figure


def held_out(study: ReportInput) -> Figure | str:
    """Predicted and measured loss of the held-out rung, per size, with the winners marked."""
    prediction, judgement = study.prediction, study.judgement
    if prediction is None:
        return "This plan has no held-out rung: nothing was predicted before it was measured."
    figure, (panel,) = axes(height=3.4)
    x = np.array([rung.params for rung in prediction.rungs])
    middle = np.array([rung.loss.value for rung in prediction.rungs])
    for name, width, alpha in (("loss98", 3.0, 0.35), ("loss", 8.0, 0.5)):
        ends = np.array([[getattr(r, name).low, getattr(r, name).high] for r in prediction.rungs])
        label = "predicted, 90 %" if name == "loss" else "predicted, 98 %"
        panel.vlines(x, ends[:, 0], ends[:, 1], color=BLUE, lw=width, alpha=alpha, label=label)
    panel.plot(x, middle, "_", color=BLUE, ms=16, mew=2)
    measured = {run.size.params_matmul: run.loss for run in study.in_stage("held_out") if run.done}
    if measured:
        panel.plot(list(measured), list(measured.values()), "D", color=ORANGE, mec="black", ms=7,
                   label="measured")  # fmt: skip
    marks = [(prediction.winner, BLUE, "predicted winner", 0.06)]
    if judgement is not None:
        marks.append((judgement.winner_measured, ORANGE, "measured winner", 0.12))
    for rung, colour, label, height in marks:
        panel.plot(x[rung], height, "^", color=colour, mec="black", mew=0.6, ms=8, label=label,
                   transform=panel.get_xaxis_transform())  # fmt: skip
    panel.set(xlabel="parameters (params_matmul)", xlim=(x.min() / 1.4, x.max() * 1.4))
    panel.set_ylabel("validation loss (nats per token)")
    panel.margins(y=0.25)
    human_log(panel.xaxis)
    panel.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _points(panel: Axes, seen: Observations, x: Floats, y: Floats, *, legend: bool = True) -> None:
    """Draw one point per run, a colour and marker per size, or shades where sizes are many."""
    if len(set(seen.params)) > len(MARKERS):
        label = "runs, lighter: larger" if legend else None
        shades = panel.scatter(x, y, c=np.log(seen.params), cmap="cividis", s=14, label=label)
        shades.set_zorder(3)
        return
    for size, colour, marker in series(list(seen.params)):
        rows = seen.params == size
        label = text.count(size) if legend else None
        panel.plot(x[rows], y[rows], marker, color=colour, ms=5, mec="white", mew=0.4, label=label)


def _target(panel: Axes, study: ReportInput, x: float) -> None:
    """Mark the planned run with the interval of its loss."""
    loss = study.plan.decision("loss").estimate
    whisker = [[loss.value - loss.low], [loss.high - loss.value]]
    panel.errorbar([x], [loss.value], yerr=whisker, fmt="*", color=RED, ms=12, capsize=4,
                   label="planned run")  # fmt: skip


def _isoflop(panel: Axes, surface: Surface, flops: float, colour: str) -> float:
    """Draw the law over size at one compute with its minimum; return the best size."""
    best = float(surface.frontier(np.array([flops]))[0])
    sizes = best * np.geomspace(1 / 6, 6, 80)
    losses = surface.loss(sizes, surface.tokens(sizes, flops))
    panel.plot(sizes, losses, color=colour, lw=1.4)
    panel.plot(best, losses.min(), "+", color=colour, ms=11, mew=1.8)
    return best


def _levels(seen: Observations) -> list[tuple[float, Rows]]:
    """Group runs of nearly equal compute; keep a few groups of two sizes or more, spread evenly."""
    groups: list[list[int]] = []
    for row in np.argsort(seen.flops).tolist():
        if groups and seen.flops[row] <= LEVEL_WIDTH * seen.flops[groups[-1][0]]:
            groups[-1].append(row)
        else:
            groups.append([row])
    wide = [np.array(g) for g in groups if len(set(seen.params[g])) > 1]
    kept = sorted({round(i) for i in np.linspace(0, len(wide) - 1, LEVELS)}) if wide else []
    return [(float(np.exp(np.log(seen.flops[wide[i]]).mean())), wide[i]) for i in kept]
