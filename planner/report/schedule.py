"""The section on the schedule: what was decided, from which curves, what another would bring."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from planner.decide.schedule import NOT_TRIED, USUAL_LABEL, judged, label_of
from planner.estimate import Estimate
from planner.fit.schedule import USUAL, BestSchedule, Cooldown, ScheduleFit
from planner.plan.plan import Plan
from planner.report import text
from planner.report.content import Paragraph, Section
from planner.report.figures.surface import Surface
from planner.report.study import ReportInput

TITLE = "Schedule"
SAME = (
    "Every proxy was trained under this schedule (a cooldown over the last "
    f"{USUAL.fraction:.0%}), so no loss had to be corrected for another."
)


def schedule(study: ReportInput) -> Section:
    """Return one paragraph: the schedule, its evidence and the gain of the best other one."""
    evidence = study.schedule
    if evidence is None:
        return Section(TITLE, (_of_plan(study.plan),))
    fit, best = evidence.fit, evidence.best(study.plan.decision("tokens").estimate.value)
    if fit is None or best is None:
        said = SAME if evidence.own else f"{NOT_TRIED}."
        usual = f"{USUAL_LABEL}. {said} Whether another ends lower is not known:"
        return Section(TITLE, (Paragraph(f"{usual} {evidence.why_not}.", "Recommended:"),))
    told = [f"{label_of(best.recommended)}.", _evidence(study, fit), _gain(study, fit, best)]
    told.append(SAME if best.tie else _uncorrected(best.gain))
    if evidence.why_not:
        told.append(text.sentence(evidence.why_not))
    told.append("The laws hold for one size, peak learning rate and batch: a shape carries over.")
    return Section(TITLE, (Paragraph(" ".join(told), "Recommended:"),))


def _of_plan(plan: Plan) -> Paragraph:
    """Say what a plan without its study decided."""
    decided = next((one for one in plan.decisions if one.name == "schedule"), None)
    if decided is None:
        return Paragraph("The evidence holds neither curves nor sweeps; the plan names none.")
    return Paragraph(f"{decided.label}. {text.sentence(decided.reason)}", "Recommended:")


def _evidence(study: ReportInput, fit: ScheduleFit) -> str:
    shares: dict[str, float] = defaultdict(float)
    for one in fit.members:
        shares[one.form.law.name] += one.weight
    laws = ", ".join(f"{name} {text.percent(share)}" for name, share in shares.items())
    where = ""
    if run := next((run for run in study.runs if run.key in fit.runs), None):
        size = text.count(run.size.params_matmul)
        where = f" of {size} parameters at learning rate {run.trial.lr:.3g} and batch "
        where += f"{run.trial.batch_tokens}"
    return (
        f"Laws of the loss under any schedule ({laws}) were fitted to {len(fit.runs)} curves of "
        f"{fit.schedules} schedules{where}, up to {text.count(fit.span)} {fit.unit}; they were "
        f"{judged(fit)}."
    )


def _gain(study: ReportInput, fit: ScheduleFit, best: BestSchedule) -> str:
    """Say what the best other cooldown would gain, in nats and in compute."""
    other = Cooldown(best.fraction.value, best.shape.value, best.final_ratio.value)
    gain = best.gain
    if other == USUAL:
        return f"By them no other cooldown ends lower after {text.count(best.time)} {fit.unit}."
    told = (
        f"By them the best other one ({label_of(other).removeprefix('wsd: ')}) would gain "
        f"{gain.value:.2g} nats [{gain.low:.2g}, {gain.high:.2g}] over the proxies' at "
        f"{text.count(best.time)} {fit.unit}"
    )
    longest = max((run for run in study.runs if run.key in fit.runs), key=lambda r: r.flops,
                  default=None)  # fmt: skip
    if longest is not None and fit.unit == "tokens":
        flops = longest.flops * best.time / longest.tokens
        slope = Surface.of(study.fit, study.plan, study.fitted).slope(flops)
        more = [text.percent(np.expm1(n / slope)) for n in (gain.value, gain.low, gain.high)]
        told += f", as much as {more[0]} [{more[1]}, {more[2]}] more compute there"
    return f"{told}: {'a tie.' if best.tie else 'more than its interval.'}"


def _uncorrected(gain: Estimate) -> str:
    return (
        f"Every proxy was trained under the last {USUAL.fraction:.0%}: corrected for it, losses "
        f"would lie {gain.value:.2g} nats [{gain.low:.2g}, {gain.high:.2g}] lower at the proxy. "
        "The expected loss is not corrected, and so on the high side."
    )
