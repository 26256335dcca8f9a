"""GO, GO WITH WARNINGS or NO-GO: the worst verdict of the rules that fire.

| rule            | fires when                                                   | verdict  |
|-----------------|--------------------------------------------------------------|----------|
| held-out-failed | a held-out loss outside 98 %, or the winner two steps off    | NO-GO    |
| held-out-off    | a held-out loss outside 90 % (every interval was widened)    | WARNINGS |
| held-out-none   | no run the law had not seen was predicted beforehand         | WARNINGS |
| extrapolation   | more than 1,000x the largest fitted run's compute            | NO-GO    |
|                 | more than 100x                                               | WARNINGS |
| law             | the law is not identified, and no prediction has come true   | NO-GO    |
|                 | not identified, but inside 90 % at the held-out rung         | WARNINGS |
|                 | it did not converge inside its bounds                        | WARNINGS |
| blocking        | a blocking finding                                           | NO-GO    |
| warning         | a warning                                                    | WARNINGS |

Beyond 1,000x the answer is NO-GO however well the fit looks: the discrepancy per decade was never
measured so far out, and the rule's remedy (a larger rung) costs a thousandth of what it protects.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from planner.finding import Finding, Severity
from planner.fit.held_out import Judgement
from planner.plan.plan import Colour, Extrapolation, Rule, Verdict
from planner.units import format_flops

GREEN_LIMIT, AMBER_LIMIT = 100.0, 1000.0
"""Compute of the target over the largest fitted run (science F4.5)."""

ORDER = (Verdict.GO, Verdict.WARNINGS, Verdict.NO_GO)


def extrapolation(target_flops: float, largest_fitted_flops: float) -> Extrapolation:
    """Say how far a plan reaches beyond the largest run the law was fitted to."""
    ratio = target_flops / largest_fitted_flops
    colour = Colour.RED
    if ratio <= AMBER_LIMIT:
        colour = Colour.GREEN if ratio <= GREEN_LIMIT else Colour.AMBER
    return Extrapolation(target_flops, largest_fitted_flops, ratio, colour)


def times(ratio: float) -> str:
    """Write a ratio: 96x, 9,600x."""
    return f"{float(f'{ratio:.2g}'):,g}x"


def decide(
    reach: Extrapolation, held_out: Judgement | None, status: str, findings: Sequence[Finding]
) -> tuple[Verdict, tuple[Rule, ...]]:
    """Return the verdict and the rules that fired, worst first."""
    fired = [
        *_held_out(held_out),
        *_extrapolation(reach),
        *_law(status, held_out),
        *_findings(findings),
    ]
    rules = tuple(sorted(fired, key=lambda rule: -ORDER.index(rule.verdict)))
    return (rules[0].verdict if rules else Verdict.GO), rules


def _held_out(held_out: Judgement | None) -> Iterator[Rule]:
    if held_out is None:
        yield Rule(
            "held-out-none",
            Verdict.WARNINGS,
            "No run the law had not seen was predicted beforehand, so its intervals are untested.",
        )
    elif not held_out.inside98 or held_out.winner_steps_off >= 2:
        yield Rule(
            "held-out-failed",
            Verdict.NO_GO,
            "The held-out rung contradicts the law: a loss lies outside its 98 % interval, or the "
            "best size is two steps from the predicted one.",
        )
    elif not held_out.inside90:
        yield Rule(
            "held-out-off",
            Verdict.WARNINGS,
            "A held-out loss lies outside its 90 % interval; every interval was widened.",
        )


def _extrapolation(reach: Extrapolation) -> Iterator[Rule]:
    far = f"The target takes {times(reach.ratio)} the compute of the largest run "
    if reach.colour is Colour.RED:
        needed = format_flops(reach.target_flops / AMBER_LIMIT, 2)
        remedy = f"the law was fitted to; a run of at least {needed} would bring it within 1,000x."
        yield Rule("extrapolation", Verdict.NO_GO, far + remedy)
    elif reach.colour is Colour.AMBER:
        yield Rule("extrapolation", Verdict.WARNINGS, far + "the law was fitted to (over 100x).")


def _law(status: str, held_out: Judgement | None) -> Iterator[Rule]:
    """Let a law that leans on its priors pass only if a prediction of it has come true."""
    if status.startswith("not identified"):
        came_true = held_out is not None and held_out.inside90
        verdict = Verdict.WARNINGS if came_true else Verdict.NO_GO
        yield Rule("law", verdict, f"The loss law is {status}; weak priors fill the gap.")
    elif status != "converged":
        yield Rule("law", Verdict.WARNINGS, f"The loss law's fit ended {status}.")


def _findings(findings: Sequence[Finding]) -> Iterator[Rule]:
    for finding in findings:
        if finding.severity is Severity.BLOCKING:
            yield Rule(f"blocking: {finding.code}", Verdict.NO_GO, finding.what)
        elif finding.severity is Severity.WARNING:
            yield Rule(f"warning: {finding.code}", Verdict.WARNINGS, finding.what)
