"""What training curves say about the final losses a law is fitted to.

A law of decayed losses needs runs that decayed, ran to their end, and ended well. Of each curve,
cut at the tokens the table states for its run, four figures are judged:

    lr share   lr at the end / highest lr             > 1/2: the loss is not a decayed one
    reached    tokens at the end / the table's        < .95: the run stopped before its end
    rise       end / lowest median of a 50th part     > max(6 noise, 3 %): a spike or a divergence
    ratio      the table's loss / the curve's end     off by > 20 %: not the same run's loss, or not
                                                      in nats (1 / ln 2 = 1.443 is bits)

The end is the median of the last three points, noise the robust standard deviation of the second
half about a straight line. A ratio up to 25 % that the runs share is taken off first, because the
evaluation text is not the training text (tiny byte models scored on other packages of source code:
up to 26 % a run, 13 % in the median of six sound studies).
An undecayed loss lies above the decayed one by an amount that depends on the learning rate, so it
bends a law in N and D (Hoffmann et al. 2022, arXiv 2203.15556, appendix B: a schedule longer than
the run costs loss).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from planner.arrays import Floats
from planner.curve import Curve
from planner.finding import Finding, Severity
from planner.observations import Observations

UNDECAYED = 0.5
"""A run that ends above this share of its highest learning rate has not decayed."""
COOLDOWN = 0.2
"""Share of a run's compute that a cooldown from its last checkpoint costs."""
REACHED, BEYOND = 0.95, 1.02
"""Shares of the table's tokens: a run that ends before the first stopped early; points after the
second belong to a longer run, of which the table's loss is a checkpoint."""
SPIKE_SD, SPIKE_SHARE, PARTS = 6.0, 0.03, 50
LEAST_POINTS = 8
"""A shorter curve cannot tell a spike from noise."""
OFF, SHARED = 1.2, 1.25
UNIT, UNIT_WIDTH = -np.log(np.log(2.0)), 0.15
"""ln of the ratio of bits to nats, and how near to it a ratio of train and final loss must lie."""
NAMES = 4


@dataclass(frozen=True)
class _Endings:
    """How the runs with a curve ended: arrays (m,), nan where the curve does not say."""

    row: np.ndarray
    reached: Floats
    lr_share: Floats
    rise: Floats
    """ln(end / lowest), 0 where that is noise."""
    log_ratio: Floats


def check_curves(observations: Observations, curves: Sequence[Curve]) -> tuple[Finding, ...]:
    """Return what the curves say about the runs of ``observations``, matched by their keys."""
    of_run = {curve.run: curve for curve in curves}
    known = [i for i, key in enumerate(observations.key) if key in of_run]
    if not known:
        return (_strangers(observations, of_run),)
    ends = np.array([_ending(observations, i, of_run[observations.key[i]]) for i in known])
    endings = _Endings(np.array(known), *ends.T)
    found = (
        _undecayed(observations, endings),
        _early(observations, endings),
        _spiked(observations, endings),
        *_off(observations, endings),
        *_unpaired(observations, of_run),
        _without_lr(observations, endings),
    )
    return tuple(finding for finding in found if finding)


def _ending(o: Observations, i: int, curve: Curve) -> tuple[float, float, float, float]:
    """Return reached, lr share, rise and log ratio of one run."""
    tokens = np.where(np.isnan(curve.tokens), curve.step * o.batch_tokens[i], curve.tokens)
    inside = ~(tokens > BEYOND * o.tokens[i])
    if not inside.any():
        return np.nan, np.nan, np.nan, np.nan
    loss, lr = curve.loss[inside], curve.lr[inside]
    lr = lr[np.isfinite(lr)]
    share = lr[-1] / lr.max() if lr.size and lr.max() > 0 else np.nan
    end = np.median(loss[-3:])
    log_ratio = np.log(o.loss[i] / end) if np.isfinite(end) and end > 0 else np.nan
    rise = _rise(loss) if len(loss) >= LEAST_POINTS else np.nan
    return float(tokens[inside][-1] / o.tokens[i]), float(share), rise, float(log_ratio)


def _rise(loss: Floats) -> float:
    """Return ln(end / lowest), the lowest a median of neighbours; 0 when noise explains it."""
    end = np.median(loss[-3:])
    if not np.isfinite(end):
        return float(np.inf)
    parts = np.array_split(loss, min(PARTS, len(loss) // 3))
    low = min(float(np.median(part)) for part in parts)
    noise = _noise(loss[len(loss) // 2 :])
    rises = low > 0 and end - low > max(SPIKE_SD * noise, SPIKE_SHARE * low)
    return float(np.log(end / low)) if rises else 0.0


def _noise(late: Floats) -> float:
    """Return the robust sd about a line through the medians of the outer thirds.

    Differences of neighbours would miss noise that neighbours share, as in smoothed exports.
    """
    late = late[np.isfinite(late)]
    third = max(1, len(late) // 3)
    slope = (np.median(late[-third:]) - np.median(late[:third])) / max(1, len(late) - third)
    left = late - slope * np.arange(len(late))
    return 1.4826 * float(np.median(np.abs(left - np.median(left))))


def _undecayed(o: Observations, e: _Endings) -> Finding | None:
    """Doubt losses at a high learning rate; worse when others of the same fit decayed."""
    high = e.lr_share > UNDECAYED
    if not high.any():
        return None
    rows, told = e.row[high], int(np.isfinite(e.lr_share).sum())
    cost = COOLDOWN * float(o.flops[rows].sum())
    ends = (
        f"at {100 * np.median(e.lr_share[high]):.0f} % of the highest learning rate (median); "
        "their losses are not decayed ones"
    )
    cool = f"cool them down from their last checkpoints over {COOLDOWN:.0%} of their tokens"
    if len(rows) == told:
        return Finding(
            "curves-undecayed",
            Severity.WARNING,
            f"All {told} runs whose learning rate is known end {ends}, so the law is not that of "
            "runs that decay, and its exponents need not be theirs.",
            f"{cool.capitalize()}, or plan for runs that do not decay either.",
            cost,
        )
    return Finding(
        "curves-mixed-schedules",
        Severity.BLOCKING,
        f"{len(rows)} of {told} runs ({_names(o, rows)}) end {ends}, the others' are: one law "
        "cannot be fitted to both.",
        f"Leave those rows out, or {cool}.",
        cost,
    )


def _early(o: Observations, e: _Endings) -> Finding | None:
    early = e.reached < REACHED
    if not early.any():
        return None
    rows, reached = e.row[early], e.reached[early]
    return Finding(
        "curves-ended-early",
        Severity.WARNING,
        f"{_of(o, rows, e)} end before {REACHED:.0%} of the tokens the table states; the earliest "
        f"at {reached.min():.2g} of them.",
        "Finish them, leave them out, or state the tokens they saw (in the unit of the curves).",
        float(((1.0 - reached) * o.flops[rows]).sum()),
    )


def _spiked(o: Observations, e: _Endings) -> Finding | None:
    high = e.rise > 0
    if not high.any():
        return None
    rows, worst = e.row[high], float(np.expm1(e.rise[high].max()))
    by = f"by {worst:.0%} at worst" if np.isfinite(worst) else "at worst without bound"
    return Finding(
        "curves-spiked",
        Severity.WARNING,
        f"{_of(o, rows, e)} end clearly above their own lowest loss, {by}: they ended in a spike "
        "or were diverging.",
        "Repeat them from a checkpoint before the rise, at a lower learning rate, or leave them "
        "out.",
        float(o.flops[rows].sum()),
    )


def _off(o: Observations, e: _Endings) -> Iterator[Finding]:
    """Doubt table losses that cannot be where their curves end; early and spiked runs aside."""
    fair = ~(e.reached < REACHED) & ~(e.rise > 0) & np.isfinite(e.log_ratio)
    shared = float(np.median(e.log_ratio[fair])) if fair.any() else 0.0
    gap = e.log_ratio - (shared if abs(shared) <= np.log(SHARED) else 0.0)
    off = fair & (np.abs(gap) > np.log(OFF))
    unit = off & (np.abs(np.abs(gap) - UNIT) < UNIT_WIDTH)
    if 2 * unit.sum() >= off.sum() > 0:
        off &= ~unit
        rows = e.row[unit]
        higher = np.median(gap[unit]) > 0
        yield Finding(
            "curves-loss-unit",
            Severity.WARNING,
            f"The table's losses of {_of(o, rows, e)} are {'1.44' if higher else '0.69'} times "
            f"their curves' ends: {'the table' if higher else 'the curves'} count bits, where nats "
            "are expected.",
            "Multiply the table's losses by 0.6931 (--map 'loss*0.6931472=loss')."
            if higher
            else "Check that the table's losses are nats per token.",
        )
    if off.any():
        rows, worst = e.row[off], float(np.exp(np.abs(gap[off]).max()) - 1.0)
        yield Finding(
            "curves-loss-off",
            Severity.WARNING,
            f"The table's losses of {_of(o, rows, e)} lie more than {OFF - 1:.0%} off their "
            f"curves' ends, by {worst:.0%} at worst: another run, another data set, or runs that "
            "learned their training data by heart.",
            "Check which run and which data each loss belongs to.",
        )


def _unpaired(o: Observations, of_run: dict[str, Curve]) -> Iterator[Finding]:
    """Say which runs and which curves stand alone."""
    bare = np.array([i for i, key in enumerate(o.key) if key not in of_run], dtype=int)
    if len(bare):
        yield Finding(
            "runs-without-curve",
            Severity.INFO,
            f"{len(bare)} of {len(o)} runs have no curve ({_names(o, bare)}); how they ended is "
            "not checked.",
            "Add their curves.",
        )
    if alone := sorted(of_run.keys() - set(o.key)):
        yield Finding(
            "curves-without-run",
            Severity.INFO,
            f"{len(alone)} of {len(of_run)} curves belong to no run that is fitted "
            f"({_listed(alone)}).",
        )


def _strangers(o: Observations, of_run: dict[str, Curve]) -> Finding:
    return Finding(
        "curves-unmatched",
        Severity.WARNING,
        f"None of the {len(of_run)} curves ({_listed(sorted(of_run))}) names one of the {len(o)} "
        f"runs ({_listed(o.key)}), so nothing could be checked.",
        "Give the table a column `key` that holds the names the curves use (--map 'name=key').",
    )


def _without_lr(o: Observations, e: _Endings) -> Finding | None:
    silent = e.row[np.isnan(e.lr_share)]
    if not len(silent):
        return None
    return Finding(
        "curves-without-lr",
        Severity.INFO,
        f"The curves of {_of(o, silent, e)} do not tell the learning rate at the table's tokens; "
        "whether the losses are decayed is not known.",
        "Report lr with the loss, in the table's count of tokens.",
    )


def _of(o: Observations, rows: np.ndarray, e: _Endings) -> str:
    return f"{len(rows)} of {len(e.row)} runs with a curve ({_names(o, rows)})"


def _names(o: Observations, rows: np.ndarray) -> str:
    return _listed([o.key[i] for i in rows])


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMES])
    return f"{shown}, ..." if len(names) > NAMES else shown
