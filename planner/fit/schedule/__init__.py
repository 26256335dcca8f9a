"""Laws of the loss under any schedule of the learning rate: fitted, weighed, used."""

from planner.fit.schedule.fit import Forecast, ScheduleFit, fit_schedule
from planner.fit.schedule.optimise import USUAL, BestSchedule, Cooldown, best_schedule, corrected
from planner.fit.schedule.path import Path
from planner.fit.schedule.told import correction_finding, fit_group, schedule_json, schedule_lines
from planner.fit.schedule.traces import (
    Trace,
    distinct,
    largest_group,
    trace_of,
    traces_of_runs,
    traces_of_table,
)

__all__ = [
    "USUAL",
    "BestSchedule",
    "Cooldown",
    "Forecast",
    "Path",
    "ScheduleFit",
    "Trace",
    "best_schedule",
    "corrected",
    "correction_finding",
    "distinct",
    "fit_group",
    "fit_schedule",
    "largest_group",
    "schedule_json",
    "schedule_lines",
    "trace_of",
    "traces_of_runs",
    "traces_of_table",
]
