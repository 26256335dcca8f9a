"""Doubts about the fit itself: what the data leave open, and what they could never show.

``blind-spots`` states the power of the residual tests: of a drift of the loss with size or tokens
the law's exponents absorb so much that little is left to see. With h the influence of the log
losses on ln N*(100 C_max) and f the drift, a drift that moves ln N* by one standard error leaves

    t = |M f| |h| / |h' f|

on average, whatever the noise; 4.5 would be found in 95 % of tables.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from planner.arrays import Floats
from planner.finding import Finding, Severity
from planner.fit.check.linear import SINGULAR, Linear
from planner.fit.check.outlying import outliers
from planner.fit.laws import Law
from planner.observations import Observations

REACH = 100.0
"""N* is judged at this many times the largest run."""
RIDGE, RIDGE_WIDTH = 0.98, 2.0
"""Correlation of E with an exponent, and ratio of that exponent's 90 % ends, of an open ridge."""
HALF_WIDTH = 1.645
SEEN = 4.5
FAR = 30.0
"""A move of ln N* beyond this is as good as infinite."""
RECIPE = ("lr", "batch_tokens", "warmup_tokens")


def check_identified(o: Observations, law: Law, status: str, draws: Floats) -> Iterator[Finding]:
    """Yield doubts about exponents and E that the data leave open; ``draws`` are (S, P)."""
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    ends = ", ".join(
        f"{name} {low[i]:.2f}-{high[i]:.2f}"
        for i, name in enumerate(law.names)
        if name in ("alpha", "beta")
    )
    wider = "Widen the ladder: a size and a horizon four times beyond those there are."
    cost = 16.0 * float(o.flops.max())
    if status != "converged":
        yield Finding(
            "not-identified",
            Severity.WARNING,
            f"The data do not determine the law ({status}); weak priors fill the gap: {ends}.",
            wider,
            cost,
        )
    elif ridge := _ridge(law, draws):
        yield Finding(
            "ridge",
            Severity.WARNING,
            f"E and {ridge} trade off almost exactly in this range (correlation above {RIDGE}): "
            f"{ends}. A small change of E moves N* by more than its interval suggests.",
            wider,
            cost,
        )


def _ridge(law: Law, draws: Floats) -> str:
    """Return the exponent that E trades off with, or ""."""
    if "E" not in law.names:
        return ""
    floor = draws[:, law.names.index("E")]
    for name in ("alpha", "beta"):
        if name in law.names:
            exponent = draws[:, law.names.index(name)]
            low, high = np.quantile(exponent, [0.05, 0.95])
            tied = abs(np.corrcoef(floor, np.log(exponent))[0, 1]) if np.ptp(floor) > 0 else 0.0
            if tied > RIDGE and high > RIDGE_WIDTH * low:
                return name
    return ""


def influence(law: Law, theta: Floats, linear: Linear, flops: float) -> Floats:
    """Return d ln N*(C) / d ln L_i, shape (n,), of the least-squares fit."""
    step = 1e-5 * np.abs(theta)
    ends = np.stack([theta + np.diag(step), theta - np.diag(step)])
    best = np.log(
        np.array([[law.optimal_params(t[None], flops)[0] for t in side] for side in ends])
    )
    gradient = (best[0] - best[1]) / (2.0 * step)
    inverse = np.linalg.pinv(linear.slopes, rcond=SINGULAR)
    return np.asarray(inverse.T @ (gradient / linear.scale))


def check_sensitive(o: Observations, law: Law, theta: Floats, linear: Linear) -> Iterator[Finding]:
    """Yield a doubt where trimming outliers moves N* by more than its interval, to first order."""
    far, _ = outliers(linear)
    if not far.any() or (~far).sum() <= linear.slopes.shape[1] + 2:
        return
    flops = REACH * float(o.flops.max())
    left = linear.take(~far)
    h = influence(law, theta, left, flops)
    move = float(h @ left.r - influence(law, theta, linear, flops) @ linear.r)
    if abs(move) > HALF_WIDTH * left.sigma * float(np.linalg.norm(h)):
        factor = float(np.exp(np.clip(move, -FAR, FAR)))
        yield Finding(
            "huber-sensitive",
            Severity.WARNING,
            f"Without {int(far.sum())} outlying runs N* at {REACH:.0f} times the largest compute "
            f"moves by a factor of {factor:.3g} from its least-squares value, more than its "
            "90 % interval: the answer hangs on Huber's delta.",
            "Repeat these runs with another seed; report the fit with and without them.",
            float(o.flops[far].sum()),
        )


def check_blind_spots(
    o: Observations, law: Law, theta: Floats, linear: Linear
) -> Iterator[Finding]:
    """Say which drifts these residuals cannot show, unless the recipe's columns are there."""
    missing = [name for name in RECIPE if not np.isfinite(getattr(o, name)).all()]
    missing += [] if (o.schedule != "").all() else ["schedule"]
    if not missing or len(o) < 8:
        return
    x, z = (np.log(axis) - np.log(axis).mean() for axis in (o.params, o.tokens))
    drifts = np.column_stack([x, x * x, z, z * z])
    power = _power(influence(law, theta, linear, REACH * float(o.flops.max())), linear, drifts)
    names = ("size", "the square of ln size", "tokens", "the square of ln tokens")
    unseen = [f"{name} ({t:.1f})" for name, t in zip(names, power, strict=True) if t < SEEN]
    if unseen:
        yield Finding(
            "blind-spots",
            Severity.INFO,
            "The law absorbs a drift of the loss (from lr, warmup or batch) with "
            f"{', '.join(unseen)}: in brackets the t it leaves in the residuals when it moves N* "
            f"by one standard error; {SEEN} would be seen.",
            f"Give the columns {', '.join(missing)}, which show such a drift directly.",
        )


def _power(h: Floats, linear: Linear, drifts: Floats) -> Floats:
    u, s, _ = np.linalg.svd(linear.slopes, full_matrices=False)
    u = u[:, s > SINGULAR * s[0]]
    left = drifts - u @ (u.T @ drifts)
    moved = np.maximum(np.abs(h @ drifts), 1e-300)
    return np.asarray(np.linalg.norm(left, axis=0) * np.linalg.norm(h) / moved)
