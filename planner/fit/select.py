"""Which laws to trust, and how far: each is judged by runs larger than those it was fitted to.

Rolling origin: the upper 1/6, 1/3 and 1/2 of the range of ln C are held out in turn, every law is
fitted to the runs below and meets the runs above. With m_ko the mean square of ln L_law - ln L
beyond origin o, and s the noise of the data,

    score_k = mean over origins of ln((m_ko + 2 s^2) / (m_0o + 2 s^2)),     0 the plain law
    weight_k ~ exp(-score_k)                        (inverse mean squares, Bates and Granger 1969)

The mean of logs lets no single origin decide; 2 s^2 keeps a lucky hit below the noise from winning.
Laws are averaged in prediction: the median of the mixture of their draws, which a single law that
flies off cannot move. A row all laws miss is an outlier and counts for less; the checkpoints of one
run have one vote. Errors inside the fitted rows are never looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from planner.arrays import Flags, Floats
from planner.fit.law_fit import LawFit
from planner.fit.laws import Law, PowerSum
from planner.fit.points import Points
from planner.fit.registry import LAWS
from planner.fit.solution import Solution
from planner.fit.solve import solve
from planner.observations import Observations

HELD_OUT = (1 / 2, 1 / 3, 1 / 6)
"""Shares of the range of ln C beyond the origins: the largest looks as far as half the data."""
ROWS_PER_PARAMETER = 3
"""Rows a form beyond the plain sums needs for each of its parameters before it is tried."""
SAME_PREDICTIONS = ("over-training",)
"""Another law's predictions in other words: they would vote twice."""
KNOWS_REPEATS = LAWS["data-constrained"]
"""The one law that takes how much of the data is seen again into account."""
SPARE_ROWS = 2
OUTLIER = 3.0
LEAST_NOISE = 1e-5
"""Of ln L: closer than this two predictions are the same."""
CLEARLY_BETTER = 0.9
"""A richer law, or an unidentified one, must beat the simpler by 10 % of its held-out error."""
NEGLIGIBLE = 0.03
"""Members that weigh less than this are dropped."""
FADE = 16.0
"""Epochs after which a run counts half: about R_D, where the worth of repeats has gone
(Muennighoff et al. 2023); beyond, runs overfit and say little about fresh data."""


Rows = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Origin:
    """A cut in C: ``after`` (n,) picks the runs held out, which have ``votes`` (m,), sum 1.

    ``decades`` (m,) says how far in log10 C each lies beyond ``reach``, the largest run fitted.
    """

    after: Flags
    reach: float
    decades: Floats
    votes: Floats


@dataclass(frozen=True)
class Trial:
    """One law fitted below one origin: its end there, and ln L_law - ln L (m,) of the runs above.

    Where the law lies below a run that may be under-tuned or censored, a miss counts by its slack.
    """

    before: Points
    solution: Solution
    errors: Floats


@dataclass(frozen=True)
class Rolling:
    """All laws at all origins: ``trials`` [law][origin], None where a law had too few rows.

    ``run`` (n,) numbers the run of every row.
    """

    fits: tuple[LawFit, ...]
    origins: tuple[Origin, ...]
    trials: tuple[tuple[Trial | None, ...], ...]
    noise: float
    run: Rows

    @property
    def mean_squares(self) -> Floats:
        """Return m_ko, shape (laws, origins), nan where there is no trial."""
        out = np.full((len(self.fits), len(self.origins)), np.nan)
        for o, origin in enumerate(self.origins):
            tried = {k: t.errors for k, row in enumerate(self.trials) if (t := row[o]) is not None}
            if tried:
                votes = origin.votes * _calm(np.array(list(tried.values())), self.noise)
                for k, errors in tried.items():
                    out[k, o] = votes @ errors**2 / votes.sum()
        return out

    @property
    def errors(self) -> Floats:
        """Return the RMS of ln loss beyond the origins, shape (laws,); nan without a trial."""
        squares = self.mean_squares
        count = np.isfinite(squares).sum(axis=1)
        mean = np.nansum(squares, axis=1) / np.maximum(count, 1)
        return np.where(count > 0, np.sqrt(mean), np.nan)

    @property
    def ratios(self) -> Floats:
        """Return ln mean squares over the plain law's, noise added, shape (laws, origins').

        Where a law had too few rows it counts as its own mean elsewhere, at best as the plain law.
        """
        level = np.log(self.mean_squares + 2 * self.noise**2)
        base = level[self.plain]
        known = np.isfinite(base)
        ratio = level[:, known] - base[known]
        count = np.maximum(np.isfinite(ratio).sum(axis=1, keepdims=True), 1)
        own = np.nansum(ratio, axis=1, keepdims=True) / count
        return np.asarray(np.where(np.isfinite(ratio), ratio, np.maximum(own, 0.0)))

    @property
    def plain(self) -> int:
        """Return the index of the plain law: Chinchilla's, else the first."""
        names = [fit.law.name for fit in self.fits]
        return names.index("chinchilla") if "chinchilla" in names else 0


def candidates(observations: Observations) -> tuple[Law, ...]:
    """Return the laws these rows can tell apart, by their number and by the columns there are.

    Where a study varied the data its repeated runs saw, laws that know nothing of it are wrong by
    construction: what they would call scatter was asked for.
    """
    n = len(observations)
    if _varied(observations) and n >= ROWS_PER_PARAMETER * KNOWS_REPEATS.n_free:
        return (KNOWS_REPEATS,)
    repeats = bool(np.any(epochs(observations) > 1.0))
    extras = {"": True, "unique_tokens": repeats, "batch_tokens": False}
    return tuple(
        law
        for law in LAWS.values()
        if extras[law.extra]
        and law.name not in SAME_PREDICTIONS
        and (isinstance(law, PowerSum) or n >= max(law.least_rows, ROWS_PER_PARAMETER * law.n_free))
    )


def _varied(observations: Observations) -> bool:
    """Say whether a proxy's own runs, some of them repeating, saw data sets of several sizes."""
    own = observations.flops_convention == "counted"
    several = len(np.unique(observations.unique_tokens)) > 1
    return own and several and bool(np.any(epochs(observations) > 1.0))


def epochs(observations: Observations) -> Floats:
    """Return how often every run saw its data, shape (n,), at least 1; 1 where unknown."""
    seen = np.where(
        np.isfinite(observations.epochs),
        observations.epochs,
        observations.tokens / observations.unique_tokens,
    )
    return np.asarray(np.maximum(np.nan_to_num(seen, nan=1.0), 1.0))


def fresh_weights(observations: Observations) -> Floats:
    """Return weights (n,) that fade where data were repeated: 1 / (1 + (epochs / 16)^2)."""
    return np.asarray(1.0 / (1.0 + (epochs(observations) / FADE) ** 2))


def rolling_origin(fits: Sequence[LawFit], flops: Floats, group: Sequence[str]) -> Rolling:
    """Fit every law below every origin, with its own delta, and let it meet the runs above."""
    run = np.unique(np.asarray(group), return_inverse=True)[1]
    origins = _origins(flops, run, fits[0].points.weights)
    trials = tuple(tuple(_trial(fit, origin) for origin in origins) for fit in fits)
    noise = max(min(fit.sigma for fit in fits), LEAST_NOISE)
    return Rolling(tuple(fits), origins, trials, noise, run)


def stacking_weights(rolling: Rolling) -> Floats:
    """Return weights (laws,) that sum to one; equal where nothing could be held out.

    A form that rests on a bound has no vote: it is another law then (no floor, no ceiling, no
    bend), mostly one that votes already. Plain sums keep theirs: weak priors hold them inside. The
    chosen law weighs as much as the heaviest: among ties the order is chance.
    """
    score = rolling.ratios.sum(axis=1) / max(rolling.ratios.shape[1], 1)
    inside = [isinstance(f.law, PowerSum) or not f.solution.at_bound for f in rolling.fits]
    voting = inside if any(inside) else [True] * len(inside)
    weight = np.where(voting, np.exp(score.min() - score), 0.0)
    weight /= weight.sum()
    weight = np.where(weight < NEGLIGIBLE, 0.0, weight)
    weight[choose(rolling)] = weight.max()
    return np.asarray(weight / weight.sum())


def choose(rolling: Rolling) -> int:
    """Return the law to report: the simplest that ties with the best.

    A tie is one standard error of the mean log ratio over the origins, or 10 % of the error, the
    larger. Chinchilla's law, where the data identify it, goes before others with as few parameters
    and is not given up for the tied one, whose intervals are too narrow when the tie is wrong (they
    cover ln N* in 60 % instead of 90 % on 15 planted runs). Laws the data do not identify are
    passed over, unless it is Chinchilla's and predicts clearly better than the others, or no run
    could be held out: a simpler law that merely looks identified would hide the doubt.
    """
    ratios, plain = rolling.ratios, rolling.plain
    sound = _sound(rolling)
    if ratios.shape[1] < 2 or not sound:
        return plain
    mean = ratios.mean(axis=1)
    best = min(sound, key=lambda k: float(mean[k]))
    if plain not in sound and mean[plain] < mean[best] + 2 * np.log(CLEARLY_BETTER):
        return plain
    gap = ratios - ratios[best]
    error = gap.std(axis=1, ddof=1) / np.sqrt(gap.shape[1])
    tie = np.maximum(error, -2 * np.log(CLEARLY_BETTER))
    tied = [k for k in sound if gap[k].mean() <= tie[k]]
    return min(tied, key=lambda k: (rolling.fits[k].law.n_free, k != plain, float(mean[k])))


def _sound(rolling: Rolling) -> list[int]:
    """Return the laws that may be chosen: identified, and none poorer than an identified plain."""
    sound = [k for k, fit in enumerate(rolling.fits) if fit.status == "converged"]
    if rolling.plain not in sound:
        return sound
    least = rolling.fits[rolling.plain].law.n_free
    return [k for k in sound if k == rolling.plain or rolling.fits[k].law.n_free > least]


def _origins(flops: Floats, run: Rows, weights: Floats) -> tuple[Origin, ...]:
    log_c = np.log10(flops)
    found: list[Origin] = []
    for share in HELD_OUT:
        cut = log_c.max() - share * np.ptp(log_c)
        after = log_c > cut + 1e-9
        if not after.any() or any(np.array_equal(after, o.after) for o in found):
            continue
        votes = weights[after] / np.bincount(run[after])[run[after]]
        top = float(log_c[~after].max())
        found.append(Origin(after, 10.0**top, log_c[after] - top, votes / votes.sum()))
    return tuple(found)


def _trial(fit: LawFit, origin: Origin) -> Trial | None:
    points = fit.points
    before = _part(points, ~origin.after)
    if len(before) < fit.law.n_free + SPARE_ROWS or len(np.unique(before.x)) < 2:
        return None
    solution = solve(before, fit.law, fit.delta)
    above = _part(points, origin.after)
    with np.errstate(over="ignore", invalid="ignore"):
        loss = fit.law.predict(solution.theta, above.params, above.tokens, above.extra)
        errors = np.nan_to_num(np.log(loss) - above.y, nan=1.0, posinf=1.0, neginf=-1.0)
    return Trial(before, solution, np.where(errors < 0.0, np.sqrt(above.slack), 1.0) * errors)


def _part(points: Points, rows: Flags) -> Points:
    """Return some of the points, centred anew."""
    part = Points.of(
        points.params[rows],
        points.tokens[rows],
        np.exp(points.y[rows]),
        points.weights[rows],
        points.slack[rows],
        points.extra[rows],
    )
    return replace(part, y=points.y[rows], least=points.least)


def _calm(errors: Floats, noise: float) -> Floats:
    """Return less than 1 for the rows that even the best law misses; errors are (laws, m).

    The best law's square is held at three times the usual miss, so no row can outvote the rest.
    """
    least = np.abs(errors).min(axis=0)
    width = OUTLIER * max(float(np.median(least)), noise)
    return np.asarray((width / np.maximum(least, width)) ** 2)
