"""A law of one variable meets points: y against data, compute or size alone.

    minimise  sum_i w_i huber_delta(ln y(x_i) - ln y_i),    delta = 1.345 robust sd unless given

``auto`` tries a power law with a floor and the same with one break, and keeps the floor law unless
the break predicts larger x clearly better: both are fitted to the first 50, 65 and 80 % of the
points and scored on the rest (forms are never chosen on in-sample residuals). A break at the edge
of the data is refused: three points beyond it are needed before a new slope can be told from noise.
Intervals are statistical: draws from the posterior with weak priors, the noise's sd integrated out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np

from planner.arrays import Floats
from planner.errors import EvidenceError, UsageError
from planner.estimate import LEVEL, Estimate
from planner.fit.curve_forms import BROKEN_CURVE, FLOOR_CURVE, CurveForm
from planner.fit.ensemble import WALKERS, ensemble
from planner.fit.general import solve_general
from planner.fit.laws import Law
from planner.fit.points import Points
from planner.fit.solution import Solution

FORMS: Mapping[str, CurveForm] = {form.name: form for form in (FLOOR_CURVE, BROKEN_CURVE)}
CUTS = (0.5, 0.65, 0.8)
CLEARLY_BETTER = 0.7
"""A break must cut the held-out error by this factor to be believed."""
DRAWS = 1000
COLLAPSED = 1e-3
"""A floor below this share of the smallest y is none."""
EFFICIENT, OUTLIER, LEAST_DELTA = 1.345, 5.0, 1e-6
UNIDENTIFIED = 0.75
"""Share of the prior's sd left in a parameter beyond which the prior decides."""


@dataclass(frozen=True)
class CurveFit:
    """A law of one variable with its statistical draws (S, P).

    ``status`` is "converged", "at bound: ..." or "not identified: ..."; ``held_out`` has the
    rolling-origin RMS of ln y by form (nan: too few points); ``why`` says why this form was kept.
    """

    form: CurveForm
    params: dict[str, float]
    draws: Floats
    sigma: float
    delta: float
    status: str
    span: tuple[float, float]
    held_out: dict[str, float]
    why: str

    def predict(self, x: Floats, *, level: float = LEVEL) -> tuple[Estimate, ...]:
        """Return one statistical Estimate of the mean y per x (n,)."""
        at = np.atleast_1d(np.asarray(x, dtype=np.float64))
        if not (np.isfinite(at) & (at > 0)).all():
            raise UsageError("a curve is read at positive, finite x only")
        value = self.form.predict(np.array(list(self.params.values())), at)
        drawn = self.form.predict(self.draws, at)
        how = f"statistical: {self.form.name} law of one variable, posterior with weak priors"
        return tuple(
            Estimate.from_draws(column, level=level, method=how, value=float(v))
            for column, v in zip(drawn.T, value, strict=True)
        )


def fit_curve(
    x: Floats, y: Floats, *, law: str = "auto", delta: float | None = None, seed: int = 0
) -> CurveFit:
    """Fit y(x), arrays (n,), with ``floor``, ``broken``, or the better of them (``auto``).

    ``delta`` is Huber's in ln y (None: from the residuals). Raises UsageError for what is no data
    and EvidenceError where the points cannot carry the law.
    """
    x, y = _clean(x, y)
    if law not in ("auto", *FORMS):
        raise UsageError(f"there is no curve named {law!r}; known: auto, {', '.join(FORMS)}")
    count = len(np.unique(x))
    need = FORMS["floor" if law == "auto" else law].least_rows
    if count < need:
        raise EvidenceError(f"{count} distinct x, at least {need} are needed for {law}")
    points = Points.of(x, np.ones_like(x), y)
    if law != "auto":
        return _fit(points, FORMS[law], delta, seed, ({}, "asked for"))
    errors = {name: held_out(points, form, delta) for name, form in FORMS.items()}
    plain = _fit(points, FLOOR_CURVE, delta, seed, (errors, _why_floor(errors)))
    if not errors["broken"] < CLEARLY_BETTER * errors["floor"]:
        return plain
    why = f"it predicts larger x better: {errors['broken']:.2%} against {errors['floor']:.2%}"
    try:
        return _fit(points, BROKEN_CURVE, delta, seed, (errors, why))
    except EvidenceError as edge:
        return _fit(points, FLOOR_CURVE, delta, seed, (errors, str(edge)))


def held_out(points: Points, form: CurveForm, delta: float | None) -> float:
    """Return the rolling-origin RMS of ln y over the cuts that both forms can be fitted at."""
    order = np.argsort(points.x, kind="stable")
    x, y = points.params[order], np.exp(points.y[order])
    errors = []
    for cut in CUTS:
        last = round(cut * len(order))
        if len(np.unique(x[:last])) < BROKEN_CURVE.least_rows - 1:
            continue
        before = Points.of(x[:last], np.ones(last), y[:last])
        theta = _solve(before, form, delta)[0].theta
        errors.append(np.log(form.predict(theta, x[last:]) / y[last:]))
    return float(np.sqrt(np.mean(np.concatenate(errors) ** 2))) if errors else float("nan")


def _why_floor(errors: Mapping[str, float]) -> str:
    if np.isnan(errors["broken"]):
        return "too few points to test for a break"
    return (
        f"a break does not predict larger x clearly better: {errors['broken']:.2%} against "
        f"{errors['floor']:.2%}"
    )


def _clean(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    x, y = (np.atleast_1d(np.asarray(a, dtype=np.float64)) for a in (x, y))
    if x.shape != y.shape or x.ndim != 1:
        raise UsageError(f"x and y must be two columns of one length, not {x.shape} and {y.shape}")
    if not (np.isfinite(x) & np.isfinite(y) & (x > 0) & (y > 0)).all():
        raise UsageError("x and y of a curve must be positive and finite in every row")
    return x, y


def _fit(
    points: Points,
    form: CurveForm,
    delta: float | None,
    seed: int,
    why: tuple[dict[str, float], str],
) -> CurveFit:
    solution, sigma, used = _solve(points, form, delta)
    if form.name == "broken" and {"d1"} & set(solution.at_bound):
        x = float(solution.theta[4])
        raise EvidenceError(
            f"the break would lie at the edge of the data (x = {x:.3g}), where a new slope cannot "
            "be told from noise; add points beyond it, or take the floor law"
        )
    phi = _posterior(points, form, solution, sigma, np.random.default_rng(seed))
    span = np.exp(points.x0 + points.x[[points.x.argmin(), points.x.argmax()]])
    return CurveFit(
        form,
        dict(zip(form.names, solution.theta.tolist(), strict=True)),
        form.theta_of(points, phi),
        sigma,
        used,
        _status(solution, points, form.told(points, phi)),
        (float(span[0]), float(span[1])),
        *why,
    )


def _solve(points: Points, form: CurveForm, delta: float | None) -> tuple[Solution, float, float]:
    """Return the solution, the robust sd of ln y about it, and Huber's delta."""
    law = cast(Law, form)  # the solver asks for box, starts, evaluate and theta_of only
    width = np.inf if delta is None else delta
    for last in (False, False, delta is None):
        solution = solve_general(points, law, width)
        r = form.evaluate(points, solution.free[None])[0][0] - points.y
        freedom = max(len(points) - len(form.names), 1)
        sigma = float(1.4826 * np.median(np.abs(r)) * np.sqrt(len(points) / freedom))
        if delta is not None or last:
            break
        width = max(EFFICIENT * sigma, LEAST_DELTA)
    return solution, sigma, width


def _posterior(
    points: Points, form: CurveForm, solution: Solution, sigma: float, rng: np.random.Generator
) -> Floats:
    """Draw phi (S, P): a density of residuals^2 to the power -n/2, times the weak prior."""
    low, high = form.box(points)
    r = form.evaluate(points, solution.free[None])[0][0] - points.y
    far = np.abs(r) / max(sigma, 1e-9)
    weights = points.weights * np.minimum(1.0, OUTLIER / np.maximum(far, 1e-9))

    def log_density(phi: Floats) -> Floats:
        inside = ((phi >= low) & (phi <= high)).all(axis=1)
        kept = np.clip(phi, low, high)
        left = (weights * (form.evaluate(points, kept)[0] - points.y) ** 2).sum(axis=1)
        density = form.log_prior(kept) - len(points) / 2 * np.log(left + 1e-16 * len(points))
        return np.where(inside, density, -np.inf)

    jac = form.evaluate(points, solution.free[None])[1][0]
    scale = np.maximum(sigma, 1e-8) / np.sqrt((jac**2).sum(axis=0) + 1e-12)
    near = solution.free + np.minimum(scale, (high - low) / 20) * rng.standard_normal(
        (WALKERS, len(low))
    )
    return ensemble(log_density, np.clip(near, low, high), DRAWS, rng)


def _status(solution: Solution, points: Points, told: Mapping[str, float]) -> str:
    bound = set(solution.at_bound)
    if solution.theta[0] < COLLAPSED * np.exp(points.y.min()):
        bound.add("E")  # ln E has no slope there, so the solver may stop short of the bound
    if bound:
        return f"at bound: {', '.join(sorted(bound))}"
    if not solution.converged:
        return "not identified: the solver found no end"
    weak = [name for name, left in told.items() if left > UNIDENTIFIED]
    return f"not identified: {', '.join(weak)}" if weak else "converged"
