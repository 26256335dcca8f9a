"""The target's schedule: the cooldown that fitted laws say ends lowest, or the proxies' own.

    linear warmup, constant, then over the last share f:  lr / peak = r + (1 - r) (1 - x^p)

Every proxy of a study is trained with f = .2, p = 1/2, r = 0. Where its curves hold two schedules
or more, laws of the loss under any schedule (planner/fit/schedule) judge the others; one is taken
only when the interval of its gain leaves zero out, otherwise the proxies' own stays. The laws hold
for the proxy's size, learning rate and batch, so what is carried over is the shape, not the gain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.decide.decision import Decision
from planner.estimate import Estimate
from planner.fit.schedule import USUAL, BestSchedule, Cooldown, ScheduleFit, best_schedule

USUAL_LABEL = "wsd: linear warmup, constant, 1-sqrt cooldown to zero"
USUAL_REASON = (
    "The schedule every proxy was trained with, so that losses mean the same; its cooldown can "
    "start earlier or later when the token budget changes"
)
NOT_TRIED = "The usual schedule, which the runs were not told to follow"
UNIT = "share of the tokens in the cooldown"


@dataclass(frozen=True)
class ScheduleEvidence:
    """What the evidence's curves say of schedules: fitted laws, or the reason why there are none.

    ``own`` says that the plan's losses are those of the usual schedule, as a study's are.
    """

    fit: ScheduleFit | None = None
    why_not: str = "the evidence holds no curves"
    own: bool = True

    @property
    def identified(self) -> bool:
        """Say whether the curves follow two schedules or more: one cannot speak of another."""
        return self.fit is not None and self.fit.schedules > 1

    def best(self, tokens: float) -> BestSchedule | None:
        """Return the best cooldown of a run of ``tokens``; None where laws are not identified.

        Curves in steps know no tokens: the horizon is then as far as laws were checked.
        """
        if self.fit is None or not self.identified:
            return None
        return best_schedule(self.fit, tokens if self.fit.unit == "tokens" else np.inf)


def schedule_decision(evidence: ScheduleEvidence, tokens: float) -> Decision:
    """Return the decision on the schedule of a run of ``tokens``."""
    fit, best = evidence.fit, evidence.best(tokens)
    usual = Estimate.exactly(USUAL.fraction)
    if fit is None or best is None:
        why = USUAL_REASON if evidence.own else NOT_TRIED
        reason = f"{why}. Whether another ends lower is not known: {evidence.why_not}."
        return Decision("schedule", usual, UNIT, reason, label=USUAL_LABEL)
    gain = best.gain
    found = (
        f"laws fitted to {len(fit.runs)} curves of {fit.schedules} schedules "
        f"({judged(fit)}) give the best other cooldown a gain of {gain.value:.2g} nats "
        f"[{gain.low:.2g}, {gain.high:.2g}] at the proxy"
    )
    if best.tie:
        why = USUAL_REASON if evidence.own else "The usual schedule"
        return Decision(
            "schedule", usual, UNIT, f"{why}; {found}: a tie.", fit.runs, label=USUAL_LABEL
        )
    took = best.recommended
    reason = f"{found[0].upper()}{found[1:]} over the usual last {USUAL.fraction:.0%}"
    reason += ", which the expected loss does not hold." if evidence.own else "."
    return Decision("schedule", best.fraction, UNIT, reason, fit.runs, label=label_of(took))


def judged(fit: ScheduleFit) -> str:
    """Say how far off the laws were on curves they had not seen."""
    known = [(m.weight, m.held_out) for m in fit.members if m.held_out is not None]
    if not known:
        return "nothing could be held out"
    weight, error = np.array(known).T
    off = float(np.sqrt(weight @ error**2 / weight.sum()))
    return f"{off:.2%} off on branches held out"


def label_of(cooldown: Cooldown) -> str:
    """Name a schedule as a trainer would be told it."""
    if cooldown == USUAL:
        return USUAL_LABEL
    end = f"{cooldown.final_ratio:.0%} of the peak" if cooldown.final_ratio else "zero"
    return (
        f"wsd: linear warmup, constant, cooldown 1 - x^{cooldown.shape:g} to {end} over the last "
        f"{cooldown.fraction:.0%}"
    )
