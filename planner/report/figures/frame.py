"""The look every figure shares: colour-blind-safe, readable when printed, ticks people can read.

Colours are those of Okabe and Ito (2008); what is ordered (sizes, batches) runs through cividis and
changes its marker as well, so that grey print still tells the series apart.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from planner.report import text

BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#7A828A"
MARKERS = "osD^vPX<>"
STYLE: dict[Any, Any] = {
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "white",
    "font.size": 10,
    "grid.color": "#E3E7EB",
    "grid.linewidth": 0.7,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "planner",
}
WIDTH = 6.6
"""Inches: at this width a figure is still readable on a telephone and fits a printed column."""


def style() -> AbstractContextManager[None]:
    """Apply the look; figures are drawn and written inside."""
    return rc_context(STYLE)


def axes(panels: int = 1, *, height: float = 3.9) -> tuple[Figure, list[Axes]]:
    """Return an empty figure with ``panels`` axes side by side."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, [figure.add_subplot(1, panels, i + 1) for i in range(panels)]


def svg(figure: Figure) -> bytes:
    """Write a figure as SVG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def human_log(axis: Axis, *, scientific: bool = False) -> None:
    """Make an axis logarithmic with ticks such as 20k, 1M (or 1e12), few enough to stand apart."""
    axis.axes.set(xscale="log") if isinstance(axis, XAxis) else axis.axes.set(yscale="log")
    low, high = axis.get_view_interval()
    decades = np.log10(high / low)
    room = 2.5 if len(axis.axes.figure.axes) == 1 else 1.25
    subs = (1.0, 2.0, 5.0) if decades < room else (1.0, 3.0) if decades < 4 else (1.0,)
    write = text.power_of_ten if scientific else text.count
    axis.set_major_locator(LogLocator(subs=subs, numticks=9))
    axis.set_major_formatter(FuncFormatter(lambda value, _: write(value)))
    axis.set_minor_formatter(NullFormatter())


def series(values: Sequence[float]) -> Iterator[tuple[float, str, str]]:
    """Yield each distinct value in rising order with its own colour and marker."""
    distinct = sorted(set(values))
    for i, value in enumerate(distinct):
        shade = 0.05 + 0.8 * i / max(1, len(distinct) - 1)
        yield value, matplotlib.colors.to_hex(colormaps["cividis"](shade)), MARKERS[i % 9]
