"""Whether the schedule that a study's forks decide on is better in truth: planted laws, real noise.

A trunk and three forks (1-sqrt to zero over the last fifth, horizons x1, x2, x4), logged a hundred
times with the noise of small batches. Told are, over the worlds, how often another cooldown is
taken, what it gains in truth over the usual one, and what the best of the family would gain; 90 %
intervals of the gain are held against the truth.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from planner.fit.schedule import USUAL, Cooldown, Path, Trace, best_schedule, fit_schedule
from planner.fit.schedule.laws import LAWS, evaluate
from planner.fit.schedule.optimise import FRACTIONS, RATIOS, SHAPES
from planner.fit.schedule.path import Seen

END, POINTS, LEAD = 1.0, 100, 0.01
NOISES = (0.002, 0.015)
"""sd of single points: of batches of a million tokens, and of the demo's proxies."""
WORLDS = 6


def planted(law, rng):
    """Return theta of a law whose relief is between a hundredth and a tenth of the loss."""
    shape = law.box[0] + (0.3 + 0.4 * rng.random(len(law.names))) * (law.box[1] - law.box[0])
    theta = [2.0, np.log(0.3), 0.4 + 0.2 * rng.random(), 1.0, 0.0, *shape]
    path = USUAL.path(END, 1.0, LEAD)
    relief = float(law.relief(np.array(shape), Seen.ends([path]))[0][0])
    theta[4] = np.log(2.5 * 10 ** rng.uniform(-2, -1) / relief) if relief > 0 else -3.0
    return np.array(theta)


def traces(law, theta, noise, rng):
    """Return the trunk and its forks with noisy losses."""
    whole = Path(np.linspace(2 * LEAD, 0.8 * END, 129), np.ones(128), LEAD)
    runs = {"trunk": (whole, 2 * LEAD)}
    for share in (0.25, 0.5, 1.0):
        runs[f"fork {share:g}"] = (USUAL.path(share * END, 1.0, LEAD), 0.8 * share * END)
    for name, (path, begin) in runs.items():
        at = np.linspace(begin, path.at[-1], POINTS + 1)[1:]
        loss = np.exp(evaluate(law, theta, Seen.of(path, at))[0])
        yield Trace(name, "tokens", path, at, loss * np.exp(noise * rng.standard_normal(POINTS)))


def final(law, theta, cooldowns):
    """Return the true final losses of a run of the longest horizon."""
    paths = [one.path(END, 1.0, LEAD) for one in cooldowns]
    return np.exp(evaluate(law, theta, Seen.ends(paths))[0])


def main(worlds: int = WORLDS) -> None:
    """Print a line per law and noise."""
    family = [Cooldown(f, s, r) for f in FRACTIONS for s in SHAPES for r in RATIOS]
    for noise in NOISES:
        for law in LAWS:
            taken, gained, possible, held, begin = [], [], [], [], time.process_time()
            for seed in range(worlds):
                rng = np.random.default_rng([seed, len(law.name)])
                theta = planted(law, rng)
                fit = fit_schedule(list(traces(law, theta, noise, rng)))
                best = best_schedule(fit, END)
                usual, chosen = final(law, theta, [USUAL, best.recommended])
                judged = Cooldown(best.fraction.value, best.shape.value, best.final_ratio.value)
                truth = usual - final(law, theta, [judged])[0]
                held.append(best.gain.low <= truth <= best.gain.high)
                taken.append(not best.tie)
                gained.append(usual - chosen)
                possible.append(usual - final(law, theta, family).min())
            print(
                f"noise {noise:.1%}, truth {law.name:9s}: another cooldown taken in "
                f"{sum(taken)}/{worlds}, true gain mean {np.mean(gained):+.4f} worst "
                f"{min(gained):+.4f} nats, possible {np.mean(possible):.4f}; interval of the gain "
                f"holds {sum(held)}/{worlds}; {(time.process_time() - begin) / worlds:.1f} CPU s"
            )


if __name__ == "__main__":
    main(*(int(one) for one in sys.argv[1:]))
