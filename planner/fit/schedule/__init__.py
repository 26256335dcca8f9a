"""Laws of the loss under any schedule of the learning rate: fitted, weighed, used."""

from planner.fit.schedule.fit import Forecast, ScheduleFit, fit_schedule
from planner.fit.schedule.path import Path
from planner.fit.schedule.traces import Trace, largest_group, traces_of_runs, traces_of_table

__all__ = [
    "Forecast",
    "Path",
    "ScheduleFit",
    "Trace",
    "fit_schedule",
    "largest_group",
    "traces_of_runs",
    "traces_of_table",
]
