from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from planner.report.figures import FIGURES
from planner.report.figures.surface import Surface


@pytest.mark.parametrize("name", FIGURES)
def test_every_axis_says_what_it_shows(study, name):
    figure = FIGURES[name][0](study)
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()
    for panel in figure.axes:
        assert panel.get_xlabel()
        shown = [label.get_text() for label in panel.get_xticklabels() if label.get_text()]
        assert len(shown) >= 2
        assert not any("$" in label for label in shown)
    assert figure.axes[0].get_ylabel()


def test_a_diverged_run_is_marked_and_has_no_loss(study):
    figure = FIGURES["lr-basins"][0](study)
    marked = [line for line in figure.axes[0].lines if line.get_marker() == "x"]
    assert sum(len(line.get_xdata()) for line in marked) == 1


def test_the_planned_run_lies_beyond_the_shaded_start_of_the_extrapolation(study):
    figure = FIGURES["loss-compute"][0](study)
    (edge,) = [p.get_x() for p in figure.axes[0].patches]
    assert edge == pytest.approx(study.fitted.flops.max())
    assert study.plan.flops > edge


def test_the_frontier_is_where_no_other_size_does_better(study):
    surface = Surface.of(study.fit, study.plan, study.fitted)
    flops = np.geomspace(1e12, 1e15, 5)
    best = surface.frontier(flops)
    at_best = surface.loss(best, surface.tokens(best, flops))
    for factor in (0.8, 1.25):
        others = best * factor
        assert (surface.loss(others, surface.tokens(others, flops)) > at_best).all()
    assert (np.diff(best) > 0).all()


def test_a_study_that_has_not_reached_its_ladder_says_so(study):
    early = replace(study, runs=(), prediction=None, judgement=None)
    assert all(isinstance(draw(early), str) for name, (draw, *_) in FIGURES.items()
               if name != "lr-batch-laws")  # fmt: skip
