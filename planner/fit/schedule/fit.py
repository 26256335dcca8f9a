"""What the loss of a run is under any schedule, from the curves of runs under a few of them.

Each law (:mod:`planner.fit.schedule.laws`), with the warmup's area taken as it is and with a fitted
share of it (+w), is fitted to all curves and judged by points it did not see: the later half of
each curve, fitted without that curve, and the last third and half of every curve at once. With m
the mean square of ln L_law - ln loss in a fold and s the noise of the curves,

    score = mean over folds of ln(m + 2 s^2),    weight ~ exp(-score)

the rule by which loss laws are averaged (:mod:`planner.fit.select`); members below 3 % are dropped.
Where nothing can be held out Tissue's law alone answers. Predictions are weighted means; their
intervals hold draws of every member (scores summed over blocks of neighbours, so that residuals
that neighbours share count once) and a member's own error on what was held out, which beyond the
longest run grows as that of a random walk in ln t: by sqrt(1 + ln(t / span) / ln 2).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from planner.arrays import Floats
from planner.errors import EvidenceError
from planner.estimate import LEVEL
from planner.fit.schedule.laws import LAWS, TISSUE, evaluate
from planner.fit.schedule.path import Path, Seen
from planner.fit.schedule.solve import Data, Form, Solved, residuals, solve
from planner.fit.schedule.traces import DECAYED, Trace, distinct

SHARES = (1 / 3, 1 / 2)
"""Last shares of every curve held out at once."""
JUDGED = 1 / 2
"""Last share of a left-out curve by which a law is judged: early losses differ between seeds."""
NEGLIGIBLE = 0.03
ASSUMED = 0.005
"""Relative error of a law nothing could be held out for: the worst mean error of the single laws
on unseen schedules at 25M and 100M parameters was .002, at three times the horizon .004."""
LEAST_SHARE = 0.1
"""Of the held-out mean square, kept where noise would explain all of it."""
DRAWS = 64
PARTS = 6
"""Blocks of neighbours a curve is cut into for the draws."""


@dataclass(frozen=True)
class Member:
    """A fitted law: its weight, its error on held-out points, draws (DRAWS, P).

    The error is the rms of ln L there, less the noise of single points.
    """

    form: Form
    solved: Solved
    weight: float
    held_out: float | None
    draws: Floats

    def log_loss(self, theta: Floats, seen: Seen) -> Floats:
        """Return ln L (n,) in the fit's units."""
        return evaluate(self.form.law, theta, seen)[0]


@dataclass(frozen=True)
class Forecast:
    """Losses (n,) at times (n,) under a schedule, with their interval."""

    at: Floats
    loss: Floats
    low: Floats
    high: Floats
    level: float


@dataclass(frozen=True)
class ScheduleFit:
    """Laws of one size, peak learning rate and batch; times in ``unit`` (tokens or steps).

    ``span`` is the longest run's time, ``level`` its lowest loss: the units of the parameters.
    ``warmup`` is the area before the laws begin, of the longest run, ``lowest`` the lowest learning
    rate a run came to, as a share of the peak.
    """

    members: tuple[Member, ...]
    runs: tuple[str, ...]
    unit: str
    span: float
    peak: float
    level: float
    warmup: float
    lowest: float
    schedules: int
    decays: int

    def predict(self, path: Path, times: Floats, *, level: float = LEVEL) -> Forecast:
        """Return the losses at times (n,) of a run whose learning rate follows ``path``."""
        seen = Seen.of(path.scaled(self.span, self.peak), np.asarray(times) / self.span)
        low, high = np.quantile(self.spread(seen), [(1 - level) / 2, (1 + level) / 2], axis=0)
        loss = self.mean(seen)
        return Forecast(times, loss, np.minimum(low, loss), np.maximum(high, loss), level)

    def mean(self, seen: Seen) -> Floats:
        """Return the members' weighted mean of the losses (n,)."""
        parts = [m.weight * np.exp(m.log_loss(m.solved.theta, seen)) for m in self.members]
        return np.asarray(self.level * np.sum(parts, axis=0), dtype=np.float64)

    def spread(self, seen: Seen, *, misfit: bool = True) -> Floats:
        """Return equally likely losses (S, n): draws of the members, and their misfit if asked.

        The misfit is one relative error a draw for all times: that of a curve.
        """
        rng = np.random.default_rng(0)
        beyond = np.log(np.maximum(seen.since[:, 0], 1.0)) / np.log(2.0)
        growth = np.sqrt(1.0 + beyond)
        rows = []
        for member in self.members:
            count = max(1, round(member.weight * 4 * DRAWS))
            error = rng.standard_normal(count) * (self.error(member) if misfit else 0.0)
            for i in range(count):
                drawn = member.log_loss(member.draws[i % DRAWS], seen)
                rows.append(self.level * np.exp(drawn + error[i] * growth))
        return np.stack(rows)

    @staticmethod
    def error(member: Member) -> float:
        """Return the relative error of a member on a curve it has not seen."""
        return ASSUMED if member.held_out is None else member.held_out


def fit_schedule(traces: Sequence[Trace]) -> ScheduleFit:
    """Fit and weigh the laws. Raises EvidenceError where no run decays."""
    decays = sum(trace.decays for trace in traces)
    if not decays:
        raise EvidenceError(
            "no run's learning rate falls after its warmup, so nothing says what a decay brings; "
            "branch one or two cooldowns off the longest run"
        )
    longest = max(traces, key=lambda trace: float(trace.at[-1]))
    span, peak = float(longest.at[-1]), max(trace.path.peak for trace in traces)
    level = min(float(trace.loss.min()) for trace in traces)
    data = [
        Data(Seen.of(t.path.scaled(span, peak), t.at / span), np.log(t.loss / level))
        for t in traces
    ]
    schedules = distinct(traces)
    folds = list(_folds(traces, data)) if schedules > 1 else []
    return ScheduleFit(
        _members(data, folds),
        tuple(trace.run for trace in traces),
        longest.unit,
        span,
        peak,
        level,
        longest.path.lead,
        min(float(trace.path.lr.min()) for trace in traces) / peak,
        schedules,
        decays,
    )


Fold = tuple[list[Data], list[Data]]


def _folds(traces: Sequence[Trace], data: Sequence[Data]) -> Iterator[Fold]:
    """Yield what is fitted and what is judged: a curve left out, or the end of all."""
    for i, left_out in enumerate(data):
        rest = [trace for j, trace in enumerate(traces) if j != i]
        if any(trace.decays for trace in rest) and distinct(rest) > 1:
            yield [d for j, d in enumerate(data) if j != i], [_last(traces[i], left_out, JUDGED)[1]]
    for share in SHARES:
        parts = [_last(trace, part, share) for trace, part in zip(traces, data, strict=True)]
        if any(_begun(trace, early) for trace, (early, _) in zip(traces, parts, strict=True)):
            yield [early for early, _ in parts], [late for _, late in parts]


def _begun(trace: Trace, early: Data) -> bool:
    """Say whether the first points of a curve hold some of its decay."""
    rates = trace.path.rate_at(trace.at[: len(early.y)])
    return bool(rates.min(initial=np.inf) < DECAYED * trace.path.peak)


def _last(trace: Trace, data: Data, share: float) -> tuple[Data, Data]:
    """Split a curve's points at the time where its last share begins."""
    begin = trace.at[-1] - share * (trace.at[-1] - trace.at[0])
    late = trace.at > begin
    return data.take(np.flatnonzero(~late)), data.take(np.flatnonzero(late))


def _members(data: Sequence[Data], folds: Sequence[Fold]) -> tuple[Member, ...]:
    if not folds:
        form = Form(TISSUE, free_lead=False)
        solved = solve(form, data)
        return (Member(form, solved, 1.0, None, draws(form, solved, data)),)
    forms = [Form(law, free) for law in LAWS for free in (False, True)]
    found = [solve(form, data) for form in forms]
    noise = float(np.median([_noise(part.y) for part in data]))
    missed = np.array([_missed(*pair, folds) for pair in zip(forms, found, strict=True)])
    score = np.log(missed + 2 * noise**2).mean(axis=1)
    weight = np.exp(score.min() - score)
    weight = np.where(weight < NEGLIGIBLE * weight.sum(), 0.0, weight)
    square = missed.mean(axis=1)
    error = np.sqrt(np.maximum(square - noise**2, LEAST_SHARE * square))
    return tuple(
        Member(form, solved, float(w), float(e), draws(form, solved, data))
        for form, solved, w, e in zip(forms, found, weight / weight.sum(), error, strict=True)
        if w > 0
    )


def _missed(form: Form, whole: Solved, folds: Sequence[Fold]) -> list[float]:
    """Return the mean square of ln L_law - ln loss in each fold; curves count alike."""
    errors = []
    for fitted, judged in folds:
        theta = solve(form, fitted, whole.theta).theta
        parts = [float(np.mean(residuals(form, theta, [part])[0] ** 2)) for part in judged]
        errors.append(float(np.mean(parts)))
    return errors


def _noise(y: Floats) -> float:
    """Return the sd of what neighbours do not share, from second differences."""
    second = y[2:] - 2 * y[1:-1] + y[:-2]
    return 1.4826 * float(np.median(np.abs(second)) / np.sqrt(6.0))


def draws(form: Form, solved: Solved, data: Sequence[Data]) -> Floats:
    """Return parameters (DRAWS, P) as resampled blocks of neighbours would move them.

    A multiplier bootstrap of the estimating equation, one Gauss-Newton step from the solution;
    the widths of the box are the weakest of priors.
    """
    held = {*solved.at_bound}
    free = np.array([i for i in form.free if form.names[i] not in held])
    low, high = form.box
    scores, curvature, count = [], np.zeros((len(free), len(free))), 0
    square = 0.0
    for part in data:
        miss, slopes = residuals(form, solved.theta, [part])
        weight = np.minimum(1.0, solved.delta / np.maximum(np.abs(miss), 1e-300))
        slopes = slopes[:, free]
        curvature += (slopes * weight[:, None]).T @ slopes
        square, count = square + float((weight * miss**2).sum()), count + len(miss)
        for rows in np.array_split(np.arange(len(miss)), PARTS):
            scores.append((weight * miss)[rows] @ slopes[rows])
    curvature += np.diag(square / count / (high - low)[free] ** 2)
    signs = np.random.default_rng(0).standard_normal((DRAWS, len(scores)))
    drawn = np.tile(solved.theta, (DRAWS, 1))
    drawn[:, free] -= np.linalg.solve(curvature, (signs @ np.array(scores)).T).T
    return np.clip(drawn, low, high)
