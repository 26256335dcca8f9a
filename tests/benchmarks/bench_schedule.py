"""Schedule laws on public curves: fit three schedules, predict the six others.

Data: multipowerlaw (25M and 100M parameters, nine schedules each). Fitted and weighed on
cosine_24000, constant_24000 and wsdcon_9 alone; the six others are only predicted. Errors are means
over curves of the mean absolute error in nats, and the worst error of a final loss in percent.
"""

from __future__ import annotations

import time
from pathlib import Path as Folder

import numpy as np

from planner.curve import Curve
from planner.fit.schedule import Path, ScheduleFit, fit_schedule
from planner.fit.schedule.fit import Data, Form, Member
from planner.fit.schedule.laws import LAWS
from planner.fit.schedule.path import Seen
from planner.fit.schedule.solve import solve
from planner.fit.schedule.traces import Trace, trace_of

DATA = Folder("../shared/data/multipowerlaw")
TRAINED = ("cosine_24000", "constant_24000", "wsdcon_9")
TARGET = {25: 0.0037, 100: 0.0043}
AUTHORS = {25: 0.00376, 100: 0.00435}


def curves(size: int) -> dict[str, Curve]:
    """Read the nine curves of a size."""
    found = {}
    for file in sorted((DATA / f"csv_{size}").glob("*.csv")):
        step, lr, loss = np.loadtxt(file, delimiter=",", skiprows=1, unpack=True)
        found[file.stem] = Curve(file.stem, np.full(len(step), np.nan), step, lr, loss)
    return found


def errors(predict, tests: dict[str, Curve]) -> tuple[float, float]:
    """Return the mean absolute error in nats and the worst final error in percent."""
    means, finals = [], []
    for curve in tests.values():
        miss = predict(curve) - curve.loss
        means.append(float(np.abs(miss).mean()))
        finals.append(100 * abs(float(miss[-1])) / float(curve.loss[-1]))
    return float(np.mean(means)), max(finals)


def alone(fit: ScheduleFit, form: Form, data: list[Data]) -> ScheduleFit:
    """Return the fit with one law only."""
    from dataclasses import replace

    solved = solve(form, data)
    return replace(fit, members=(Member(form, solved, 1.0, None, solved.theta[None]),))


def mean_of(fit: ScheduleFit):
    def predict(curve: Curve):
        path = Path.recorded(curve.step, curve.lr).scaled(fit.span, fit.peak)
        return fit.mean(Seen.of(path, curve.step / fit.span))

    return predict


def blind(traces: list[Trace]):
    """Return L = E + A t^-alpha, least squares over a grid of alpha: the schedule-blind law."""
    at = np.concatenate([t.at for t in traces])
    loss = np.concatenate([t.loss for t in traces])
    best = None
    for alpha in np.linspace(0.05, 1.5, 59):
        design = np.column_stack([np.ones_like(at), at**-alpha])
        coefficient, left, *_ = np.linalg.lstsq(design, loss, rcond=None)
        if best is None or left[0] < best[0]:
            best = (left[0], alpha, coefficient)
    _, alpha, (level, slope) = best
    return lambda curve: level + slope * curve.step**-alpha


def report(size: int) -> None:
    every = curves(size)
    traces = [trace_of(every[name]) for name in TRAINED]
    tests = {name: curve for name, curve in every.items() if name not in TRAINED}
    begin = time.process_time()
    fit = fit_schedule(traces)
    seconds = time.process_time() - begin
    print(f"{size}M: fitted in {seconds:.1f} CPU s on {', '.join(fit.runs)}")
    data = [
        Data(Seen.of(t.path.scaled(fit.span, fit.peak), t.at / fit.span), np.log(t.loss / fit.level))
        for t in traces
    ]
    weights = {m.form.name: m for m in fit.members}
    for law in LAWS:
        for free in (False, True):
            one = alone(fit, form := Form(law, free), data)
            mae, final = errors(mean_of(one), tests)
            known = weights.get(form.name)
            told = f"weight {known.weight:.2f}, held out {100 * known.held_out:.2f} %" if known else "dropped"
            print(f"  {form.name:12s} MAE {mae:.5f}  worst final {final:.2f} %   {told}; {one.members[0].solved.status}")
    mae, final = errors(blind(traces), tests)
    print(f"  {'blind':12s} MAE {mae:.5f}  worst final {final:.2f} %")
    mae, final = errors(mean_of(fit), tests)
    print(f"  {'ours':12s} MAE {mae:.5f}  worst final {final:.2f} %   target {TARGET[size]} and .5 %, authors {AUTHORS[size]}")
    for name, curve in tests.items():
        path = Path.recorded(curve.step, curve.lr)
        told = fit.predict(path, curve.step)
        inside = (told.low <= curve.loss) & (curve.loss <= told.high)
        miss = told.loss - curve.loss
        print(
            f"    {name:18s} MAE {np.abs(miss).mean():.5f}  final {100 * miss[-1] / curve.loss[-1]:+.2f} %"
            f"  90 % interval holds {100 * inside.mean():.0f} % of points, last width {100 * (told.high[-1] / told.low[-1] - 1):.2f} %"
        )


def main() -> None:
    if not DATA.is_dir():
        print(f"skipped: {DATA} is absent")
        return
    for size in (25, 100):
        report(size)


if __name__ == "__main__":
    main()
