"""The six figures of a report, in the order it shows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from matplotlib.figure import Figure
from matplotlib.text import Text

from planner.report.content import Picture
from planner.report.figures import hyper, loss
from planner.report.figures.frame import style, svg
from planner.report.study import ReportInput
from planner.words import in_unit, unit_of

Draw = Callable[[ReportInput], Figure | str]
"""Draws a figure, or returns the sentence that says what it lacks."""

FIGURES: Mapping[str, tuple[Draw, str, str]] = {
    "loss-compute": (
        loss.against_compute,
        "Loss against compute",
        "Points are the runs the law was fitted to, the line is the loss of the best size at each "
        "compute, its band the 90 % predictive interval. Everything in the grey area lies beyond "
        "the largest fitted run; the star is the planned run.",
    ),
    "loss-size": (
        loss.over_size,
        "Loss over size at fixed compute",
        "Each curve is the law at one compute, a plus its minimum; runs are moved along the law to "
        "the curve's compute. The lowest curve is the target's: the green sizes reach its minimum "
        "for at most 5 % more compute.",
    ),
    "lr-basins": (
        hyper.basins,
        "Learning-rate basins",
        "Loss against peak learning rate, a colour per batch. Curves are the fitted half "
        "parabolas, the bar at each minimum is its 90 % interval. A cross at the top is a run that "
        "diverged.",
    ),
    "lr-batch-laws": (
        hyper.transfer,
        "Learning rate and batch, from the sweeps to the planned run",
        "Points are the located minima with 90 % intervals (learning rates: a colour per batch), "
        "dashes the batches tried. Line and band follow size, tokens and batch from the anchor to "
        "the planned run together.",
    ),
    "residuals": (
        loss.residuals,
        "Residuals of the law",
        "Measured minus fitted loss, in per cent; the band is the robust standard deviation. A "
        "slope in either panel would mean that the law bends where the planned run lies.",
    ),
    "held-out": (
        loss.held_out,
        "Predicted and measured",
        "Bars are the losses written down before the held-out rung was trained (dark 90 %, light "
        "98 %), diamonds what was then measured; triangles mark the size that was to win and the "
        "size that won.",
    ),
}


def draw_all(study: ReportInput) -> tuple[dict[str, Picture], dict[str, bytes]]:
    """Draw every figure: its picture block by name, and the SVG of those that could be drawn."""
    pictures, files = {}, {}
    for name, (draw, title, caption) in FIGURES.items():
        with style():
            drawn = draw(study)
            if isinstance(drawn, Figure):
                for label in drawn.findobj(Text):
                    label.set_text(in_unit(label.get_text(), unit_of(study.recipe)))
                files[name] = svg(drawn)
        missing = drawn if isinstance(drawn, str) else ""
        pictures[name] = Picture(name, title, caption, missing)
    return pictures, files
