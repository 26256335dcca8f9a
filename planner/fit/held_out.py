"""Predict a held-out rung before it is trained, and judge the prediction after.

A rung is a few sizes at one compute beyond the ladder. The judgement (contracts.md section 1, issue
rule): a loss outside its 90 % interval widens every interval until the worst rung would lie on the
edge; outside 98 %, or a winner two steps from the predicted one, nothing is trusted (NO-GO).

    compute-equivalent error = |L_predicted - L_measured| / (-dL/d ln C)    along the law's optimum
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from planner.arrays import Floats
from planner.errors import LedgerError, UsageError
from planner.estimate import LEVEL, Estimate
from planner.finding import Finding, Severity
from planner.fit.loss_fit import LossFit
from planner.fit.registry import law_named

OUTER = 0.98
TIE_SD = 2.0
"""Measured losses closer than this many run-to-run sd are a tie."""
HALF_WIDTH_SD = 1.6448536269514722
"""Half of a central 90 % interval in sd, to read intervals as z scores."""
FAR_OFF = 2


@dataclass(frozen=True)
class Rung:
    """One run to come: its shape as plain data, N, D, C, and its loss at 90 and at 98 %."""

    shape: dict[str, Any]
    params: float
    tokens: float
    flops: float
    loss: Estimate
    loss98: Estimate
    slope: float
    """-dL/d ln C at the optimum of this compute, in nats: what 100 % of compute is worth."""


@dataclass(frozen=True)
class Prediction:
    """What was written before the rung was trained; ``p_win`` and ``winner`` index ``rungs``."""

    ledger_hash: str
    flops: float
    rungs: tuple[Rung, ...]
    p_win: tuple[float, ...]
    winner: int

    def to_json(self) -> dict[str, Any]:
        """Return the content of prediction.json."""
        rungs = [
            vars(rung) | {"loss": rung.loss.to_json(), "loss98": rung.loss98.to_json()}
            for rung in self.rungs
        ]
        return vars(self) | {"schema_version": 1, "rungs": rungs, "p_win": list(self.p_win)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Prediction:
        """Read a prediction back. Raises LedgerError when it is not what was written."""
        try:
            rungs = tuple(
                Rung(**(r | {"loss": Estimate(**r["loss"]), "loss98": Estimate(**r["loss98"])}))
                for r in data["rungs"]
            )
            p_win, winner = tuple(map(float, data["p_win"])), range(len(rungs))[data["winner"]]
            return cls(data["ledger_hash"], float(data["flops"]), rungs, p_win, winner)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise LedgerError(
                f"the stored prediction cannot be read ({error!r}): put events.jsonl back from a "
                "copy, or sweep into a new folder"
            ) from None


@dataclass(frozen=True)
class Judgement:
    """How a prediction fared; tuples follow the prediction's rungs.

    ``z`` is the miss in predictive sd (positive: worse than predicted), ``error_percent`` of the
    measured loss, ``widen`` (>= 1) what every interval must be multiplied with.
    """

    inside90: bool
    inside98: bool
    z: tuple[float, ...]
    winner_predicted: int
    winner_measured: int
    winner_steps_off: int
    error_percent: tuple[float, ...]
    compute_equivalent: tuple[float, ...]
    widen: float
    finding: Finding | None


def predict_held_out(
    fit: LossFit,
    rungs: Sequence[tuple[Mapping[str, Any], float, float, float]],
    ledger_hash: str,
    regret: Floats | None = None,
) -> Prediction:
    """Predict the losses of (shape, params, tokens, flops), run-to-run noise included.

    ``regret`` (S, n) holds draws of what each rung's lr and batch may cost beyond what the fitted
    runs' did, nats. The winner is the rung with the highest chance of the lowest loss.
    """
    if not rungs:
        raise UsageError("a held-out rung needs at least one size to predict")
    ordered = sorted(rungs, key=lambda rung: rung[1])
    params, tokens, flops = (np.array([rung[i] for rung in ordered], float) for i in (1, 2, 3))
    order = sorted(range(len(rungs)), key=lambda i: rungs[i][1])
    draws = fit.loss_draws(params, tokens, flops, run_noise=True)
    if regret is not None:
        draws = _placed(draws, regret[:, order])
    mean = fit.loss_draws(params, tokens, flops)
    p_win = np.bincount(mean.argmin(axis=1), minlength=len(ordered)) / len(mean)
    method = f"predictive, one run: {fit.method}"
    built = tuple(
        Rung(
            shape=dict(shape),
            params=float(n),
            tokens=float(d),
            flops=float(c),
            loss=Estimate.from_draws(draws[:, i], level=LEVEL, method=method),
            loss98=Estimate.from_draws(draws[:, i], level=OUTER, method=method),
            slope=_slope(fit, float(c)),
        )
        for i, (shape, n, d, c) in enumerate(ordered)
    )
    shares = tuple(float(p) for p in p_win)
    return Prediction(
        ledger_hash, float(np.exp(np.log(flops).mean())), built, shares, int(p_win.argmax())
    )


def _placed(loss: Floats, regret: Floats) -> Floats:
    """Return losses with their regret; one below zero takes a share off, for no loss is negative.

    Runs placed better than the fitted ones may gain .2 nats by belief, and an image model has .15.
    """
    gained = loss * np.exp(np.minimum(regret, 0.0) / loss)
    return np.asarray(gained + np.maximum(regret, 0.0), dtype=np.float64)


def _slope(fit: LossFit, flops: float) -> float:
    """Return -dL/d ln C along the compute-optimal frontier, by a central difference."""
    theta = np.array([list(fit.params.values())])
    c = flops * np.exp([-0.01, 0.01])
    law = law_named(fit.law)
    n = np.concatenate([law.optimal_params(theta, float(each)) for each in c])
    low, high = law.predict(theta, n, c / (6.0 * n), fit.unique_at(n))[0]
    return float((low - high) / 0.02)


def judge(prediction: Prediction, losses: Sequence[float], sigma: float) -> Judgement:
    """Compare measured ``losses`` (in the rungs' order) with what was written.

    ``sigma`` is the run-to-run sd of ln loss. Raises UsageError when a loss is missing.
    """
    measured = np.asarray(losses, dtype=float)
    if len(measured) != len(prediction.rungs) or not np.isfinite(measured).all():
        raise UsageError(
            f"the prediction has {len(prediction.rungs)} rungs and needs one finite loss for each; "
            f"got {list(losses)}"
        )
    z = np.array([_z(r.loss, x) for r, x in zip(prediction.rungs, measured, strict=True)])
    inside = [
        all(e.contains(x) for e, x in zip(estimates, measured, strict=True))
        for estimates in (
            [r.loss for r in prediction.rungs],
            [r.loss98 for r in prediction.rungs],
        )
    ]
    predicted = np.array([r.loss.value for r in prediction.rungs])
    error = predicted - measured
    slopes = np.array([r.slope for r in prediction.rungs])
    widen = max(1.0, float(np.abs(z).max()) / HALF_WIDTH_SD)
    steps = _steps_off(prediction.winner, measured, sigma)
    percent = tuple(float(p) for p in 100 * error / measured)
    return Judgement(
        inside90=inside[0],
        inside98=inside[1],
        z=tuple(float(v) for v in z),
        winner_predicted=prediction.winner,
        winner_measured=int(measured.argmin()),
        winner_steps_off=steps,
        error_percent=percent,
        compute_equivalent=tuple(float(v) for v in np.abs(error) / slopes),
        widen=widen,
        finding=_finding(prediction, inside, steps, percent, widen),
    )


def _z(estimate: Estimate, measured: float) -> float:
    """Return the miss in units of the interval's own half width on that side, as sd."""
    edge = estimate.high if measured > estimate.value else estimate.low
    width = max(abs(edge - estimate.value), 1e-12)
    return float(HALF_WIDTH_SD * (measured - estimate.value) / width)


def _steps_off(winner: int, measured: Floats, sigma: float) -> int:
    """Count the steps from the predicted winner to the nearest size that ties with the best."""
    least = measured.min()
    tied = np.flatnonzero(measured <= least + TIE_SD * sigma * abs(least))
    return int(np.abs(tied - winner).min())


def _finding(
    prediction: Prediction,
    inside: Sequence[bool],
    steps: int,
    percent: Sequence[float],
    widen: float,
) -> Finding | None:
    worst = max(percent, key=abs)
    cost = 2.0 * sum(rung.flops for rung in prediction.rungs)
    remedy = "Train a rung at twice this compute, refit with both, and predict again."
    if steps >= FAR_OFF or not inside[1]:
        why = (
            f"the winner lies {steps} sizes from the predicted one"
            if steps >= FAR_OFF
            else f"a loss lies outside its 98 % interval (error {worst:+.1f} %)"
        )
        what = f"The held-out rung contradicts the prediction: {why}."
        return Finding("held-out-failed", Severity.BLOCKING, what, remedy, cost)
    if not inside[0]:
        what = (
            f"A held-out loss lies outside its 90 % interval (error {worst:+.1f} %); every "
            f"interval is widened by {widen:.2f}."
        )
        return Finding("held-out-outside", Severity.WARNING, what, remedy, cost)
    return None
