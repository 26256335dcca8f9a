"""What a schedule fit says to people and to files, and what curves cannot tell."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from planner.errors import EvidenceError
from planner.finding import Finding, Severity
from planner.fit.schedule.fit import Member, ScheduleFit, fit_schedule
from planner.fit.schedule.laws import COMMON
from planner.fit.schedule.optimise import USUAL, BestSchedule, best_schedule, corrected
from planner.fit.schedule.stored import to_plain
from planner.fit.schedule.traces import Trace, largest_group

NAMES = 4
ENDING = 5
"""Last points of a curve whose mean is where it ended."""
OTHER = 0.01
"""Share of the peak, averaged over a run, by which its learning rate must differ from the usual
schedule's to be another: records a hundredth of a run apart blur a cooldown by less."""
HOLDS = "holds for this size, peak learning rate and batch; only the exponents transfer"


def fit_group(
    groups: Mapping[Hashable, Sequence[Trace]],
) -> tuple[ScheduleFit | None, tuple[Finding, ...]]:
    """Fit the group of curves that says most; None, with a finding, where it cannot be."""
    traces = largest_group(groups)
    try:
        fit = fit_schedule(traces)
    except EvidenceError as error:
        told = f"No law of the schedule was fitted: {error}."
        return None, (Finding("schedule-not-identified", Severity.INFO, told),)
    if fit.schedules > 1:
        return fit, ()
    alike = Finding(
        "schedule-not-identified",
        Severity.WARNING,
        f"All {len(fit.runs)} curves that a law of the schedule could be fitted to "
        f"({', '.join(fit.runs[:NAMES])}{', ...' if len(fit.runs) > NAMES else ''}) follow one "
        "schedule: what its decay brought cannot be told from what its length brought, and "
        "nothing could be held out.",
        "Add a run at constant learning rate, or a cooldown that begins elsewhere.",
    )
    return fit, (alike,)


def correction_finding(
    fit: ScheduleFit, traces: Sequence[Trace], fitted: Collection[str]
) -> list[Finding]:
    """Say what the usual schedule would have made of fitted runs that followed another one.

    The laws hold for one size, learning rate and batch: of the other runs nothing is known, so the
    losses are told and not changed.
    """
    excess = {}
    for trace in (t for t in traces if t.run in fitted):
        ended = float(trace.loss[-ENDING:].mean())
        usual = USUAL.path(float(trace.path.at[-1]), trace.path.peak, trace.path.lead)
        times = np.linspace(trace.path.at[0], trace.path.at[-1], 513)
        gap = np.abs(trace.path.rate_at(times) - usual.rate_at(times)).mean()
        other = corrected(fit, ended, trace.path, usual)
        if gap > OTHER * trace.path.peak and not other.low <= ended <= other.high:
            excess[trace.run] = (ended - other.value, ended - other.high, ended - other.low)
    if not excess:
        return []
    worst = max(excess, key=lambda run: abs(excess[run][0]))
    by = "{:+.2g} nats [{:+.2g}, {:+.2g}]".format(*excess[worst])
    what = (
        f"{len(excess)} of the fitted runs ({', '.join([*excess][:NAMES])}"
        f"{', ...' if len(excess) > NAMES else ''}) followed another schedule than the usual one "
        f"(1-sqrt to zero over the last {USUAL.fraction:.0%}); by the laws of the schedule their "
        f"losses are off what it would have given by {by} at most ({worst}). They were fitted as "
        "they are, so predictions hold for their schedule."
    )
    return [Finding("schedule-correction", Severity.INFO, what)]


def schedule_json(fit: ScheduleFit) -> dict[str, Any]:
    """Return the ``schedule`` entry of fit.json."""
    return {
        "holds": HOLDS,
        "unit": fit.unit,
        "runs": list(fit.runs),
        "schedules": fit.schedules,
        "longest": fit.span,
        "peak_lr": fit.peak,
        "members": [_member_json(fit, member) for member in fit.members],
        "best": best_schedule(fit, fit.span).to_json(),
        "fit": to_plain(fit),
    }


def _member_json(fit: ScheduleFit, member: Member) -> dict[str, Any]:
    low, high = np.quantile(member.draws, [0.05, 0.95], axis=0)
    ends = [_plain(fit, member, theta) for theta in (low, high)]
    return {
        "law": member.form.name,
        "weight": member.weight,
        "held_out": member.held_out,
        "status": member.solved.status,
        "params": _plain(fit, member, member.solved.theta),
        "intervals": {name: [ends[0][name], ends[1][name]] for name in ends[0]},
    }


def _plain(fit: ScheduleFit, member: Member, theta: np.ndarray) -> dict[str, float]:
    """Return parameters by name: E, A, B in nats, tau in the fit's unit, areas per longest run."""
    logs = [name in ("A", "B") for name in COMMON] + list(member.form.law.logs)
    values = {
        name: float(np.exp(value)) if log else float(value)
        for name, value, log in zip(member.form.names, theta, logs, strict=True)
    }
    scale = {"E": fit.level, "A": fit.level, "B": fit.level, "tau": fit.span}
    return {name: value * scale.get(name, 1.0) for name, value in values.items()}


def schedule_lines(fit: ScheduleFit) -> list[str]:
    """Return the lines ``planner fit --curves`` prints."""
    best: BestSchedule = best_schedule(fit, fit.span)
    lines = [f"schedule: {len(fit.runs)} curves of {fit.schedules} schedules; {HOLDS}"]
    for member in fit.members:
        error = "" if member.held_out is None else f", held-out error {member.held_out:.2%}"
        lines.append(f"  {member.form.name:12s} {member.weight:.0%}{error}; {member.solved.status}")
    return [*lines, f"  {best.reason}"]
