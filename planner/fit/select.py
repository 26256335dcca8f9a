"""Which law to trust: the one that predicted larger runs best, the simpler one where they tie.

Rolling origin: the runs in order of C are cut at 50, 65 and 80 %; each law is fitted to what lies
before a cut and scored on what lies after it, by the RMS of ln loss. Weights of the average:

    w_k ~ error_k^(-m),   m = number of distinct C held out, at most 4 (they are not independent)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from planner.arrays import Floats
from planner.fit.laws import Law
from planner.fit.points import Points
from planner.fit.solve import solve
from planner.observations import Observations

CUTS = (0.5, 0.65, 0.8)
CLEARLY_BETTER = 0.9
"""An unidentified law must beat a simpler one by 10 % of its held-out error to stay."""
MOST_EVIDENCE = 4
LEAST_ERROR = 1e-4
"""Held-out errors below this (of ln loss) are noise of the evaluation."""


def rolling_origin(
    observations: Observations, law: Law, delta: float, weights: Floats | None
) -> float:
    """Return the RMS error of ln loss on runs larger than those fitted; nan with too few runs."""
    order = np.argsort(observations.flops, kind="stable")
    errors = []
    for cut in CUTS:
        last = round(cut * len(order))
        before, after = order[:last], order[last:]
        if last <= law.n_free or len(np.unique(observations.params[before])) < 2:
            continue
        points = Points.of(
            observations.params[before],
            observations.tokens[before],
            observations.loss[before],
            None if weights is None else weights[before],
        )
        theta = solve(points, law, delta).theta
        predicted = law.predict(theta, observations.params[after], observations.tokens[after])
        errors.append(np.log(predicted / observations.loss[after]))
    return float(np.sqrt(np.mean(np.concatenate(errors) ** 2))) if errors else float("nan")


def choose(statuses: Sequence[str], errors: Sequence[float]) -> int:
    """Return the index of the chosen law; laws stand from rich to simple.

    A rich law the data identify stays: on 15 planted runs the tied law often wins by held-out loss
    and then covers ln N* in 60 % instead of 90 %. One they do not identify must predict clearly
    better than the simpler one to stay.
    """
    best = 0
    for i in range(1, len(errors)):
        if statuses[best] == "converged":
            break
        if np.isnan(errors[best]) or errors[i] * CLEARLY_BETTER < errors[best]:
            best = i
    return best


def stacking_weights(errors: Sequence[float], observations: Observations) -> list[float]:
    """Return weights that sum to one; equal where an error is unknown."""
    held_out = len(np.unique(observations.flops)) - round(CUTS[0] * len(observations))
    power = int(np.clip(held_out, 1, MOST_EVIDENCE))
    known = np.maximum(np.nan_to_num(np.asarray(errors), nan=1.0), LEAST_ERROR)
    raw = (known / known.min()) ** -power
    return [float(w) for w in raw / raw.sum()]
