"""Schedule laws on public curves: fit three schedules, predict the six others.

Data: multipowerlaw (25M and 100M parameters, nine schedules each). Fitted and weighed on
cosine_24000, constant_24000 and wsdcon_9 alone; the six others are only predicted. Errors are means
over curves of the mean absolute error in nats, and the worst error of a final loss in percent.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path as Folder

import numpy as np

from planner.curve import Curve
from planner.fit.schedule import Path, ScheduleFit, best_schedule, corrected, fit_schedule
from planner.fit.schedule.fit import Data, Form, Member
from planner.fit.schedule.laws import LAWS
from planner.fit.schedule.path import Seen
from planner.fit.schedule.solve import solve
from planner.fit.schedule.traces import Trace, trace_of

DATA = Folder("../shared/data/multipowerlaw")
TRAINED = ("cosine_24000", "constant_24000", "wsdcon_9")
TARGET = {25: 0.0037, 100: 0.0043}
AUTHORS = {25: 0.00376, 100: 0.00435}
CARRIED = (
    ("constant_24000", "cosine_24000"),
    ("constant_24000", "wsd_20000_24000"),
    ("constant_72000", "cosine_72000"),
    ("cosine_24000", "wsdld_20000_24000"),
)


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
        Data(
            Seen.of(t.path.scaled(fit.span, fit.peak), t.at / fit.span), np.log(t.loss / fit.level)
        )
        for t in traces
    ]
    members = {member.form.name: member for member in fit.members}
    for law in LAWS:
        for free in (False, True):
            one = alone(fit, form := Form(law, free), data)
            told = f"{tell(members.get(form.name))}; {one.members[0].solved.status}"
            print(line(form.name, errors(mean_of(one), tests), told))
    print(line("blind", errors(blind(traces), tests), "no schedule in it"))
    print(line("published only", errors(mean_of(published(fit)), tests), "ours without sublinear"))
    target = f"target {TARGET[size]} and .5 %, authors {AUTHORS[size]}"
    print(line("ours", errors(mean_of(fit), tests), target))
    for name, curve in tests.items():
        forecast = fit.predict(Path.recorded(curve.step, curve.lr), curve.step)
        inside = (forecast.low <= curve.loss) & (curve.loss <= forecast.high)
        width = 100 * (forecast.high[-1] / forecast.low[-1] - 1)
        held = f"90 % interval holds {100 * inside.mean():.0f} % of points, last {width:.2f} % wide"
        print("  " + line(name, errors(lambda _, f=forecast: f.loss, {name: curve}), held))
    uses(fit, every)


def published(fit: ScheduleFit) -> ScheduleFit:
    """Return the average of the three published laws, by the same held-out errors."""
    kept = [member for member in fit.members if member.form.law.name != "sublinear"]
    total = sum(member.weight for member in kept)
    return replace(fit, members=tuple(replace(m, weight=m.weight / total) for m in kept))


def tell(member: Member | None) -> str:
    if member is None:
        return "dropped"
    return f"weight {member.weight:.2f}, held out {100 * member.held_out:.2f} %"


def line(name: str, figures: tuple[float, float], told: str) -> str:
    return f"  {name:18s} MAE {figures[0]:.5f}  worst final {figures[1]:.2f} %   {told}"


def uses(fit: ScheduleFit, every: dict[str, Curve]) -> None:
    """Print the best cooldown, and final losses carried from one schedule to another."""
    begin = time.process_time()
    for horizon in (24_000, 72_000):
        print(f"  best cooldown at {horizon}: {best_schedule(fit, horizon).reason}")
    print(f"  ({(time.process_time() - begin) / 2:.2f} CPU s each)")
    for trained, wanted in CARRIED:
        one, other = every[trained], every[wanted]
        paths = [Path.recorded(curve.step, curve.lr) for curve in (one, other)]
        found = corrected(fit, float(one.loss[-1]), *paths)
        truth = float(other.loss[-1])
        said = "holds it" if found.contains(truth) else "misses it"
        print(
            f"  {trained} {one.loss[-1]:.4f} carried to {wanted}: {found.value:.4f} "
            f"[{found.low:.4f}, {found.high:.4f}], measured {truth:.4f}: {said}"
        )


def main() -> None:
    if not DATA.is_dir():
        print(f"skipped: {DATA} is absent")
        return
    for size in (25, 100):
        report(size)


if __name__ == "__main__":
    main()
