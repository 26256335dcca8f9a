"""Doubts about how the runs were trained: schedule, warmup, learning rate, repeats, steps.

A recipe that drifts with size bends the law almost exactly as another exponent would: the residuals
cannot show it (see ``blind-spots`` in :mod:`planner.fit.check.identification`), the columns can.
Evidence: Porian et al. 2024 (N exponent .70 -> .60 -> .57 -> .52 as warmup, decay and tuning are
put right), Muennighoff et al. 2023 (repeats), science A and I (lr basin, short runs).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from planner.arrays import Flags, Floats
from planner.finding import Finding, Severity
from planner.fit.check.groups import binned
from planner.observations import Observations

UNDECAYED = frozenset({"constant", "const", "none", "undecayed"})
LEAST_DECAY = 0.5
"""A final learning rate above half the peak is no decay."""
LONG_WARMUP = 0.2
"""Share of a run spent in warmup beyond which its loss suffers."""
FEW_STEPS = 1000.0
"""Below this many steps the loss is steeper than the law it follows later (science I3)."""
REPEATED, WORN = 1.01, 2.0
"""Epochs that count as repeats, and from which repeats are worth measurably less."""
REPEAT_VALUE = 15.39
"""Muennighoff's R*_D: D' = U (1 + R (1 - exp(-(epochs - 1) / R)))."""
SIZES_APART = 8.0
"""Sizes this far apart need learning rates of their own (but under muP)."""
LR_OFF, LR_SIGMAS = np.log(2.8), 3.5
"""A size's lr this far from the others' trend, on a grid of factor 2, was not tuned like them."""


def check_recipe(o: Observations) -> Iterator[Finding]:
    """Yield doubts about schedules, decay, warmup, lr, repeated data and steps."""
    yield from _schedules(o)
    yield from _undecayed(o)
    yield from _warmup(o)
    yield from _lr_not_scaled(o)
    yield from _lr_off_trend(o)
    yield from _repeats(o)
    yield from _steps(o)


def _schedules(o: Observations) -> Iterator[Finding]:
    names, count = np.unique(o.schedule[o.schedule != ""], return_counts=True)
    if len(names) > 1:
        shown = ", ".join(f"{n} x {name}" for name, n in zip(names, count, strict=True))
        rare = o.schedule == names[int(np.argmin(count))]
        yield Finding(
            "mixed-schedules",
            Severity.WARNING,
            f"The runs follow {len(names)} schedules ({shown}); their final losses differ at "
            "equal N and D.",
            "Repeat the fewer ones under the other schedule, or fit one schedule alone.",
            float(o.flops[rare].sum()),
        )


def _undecayed(o: Observations) -> Iterator[Finding]:
    names = np.char.lower(o.schedule.astype(np.str_))
    flat: Flags = np.array([name in UNDECAYED for name in names])
    flat |= np.nan_to_num(o.final_lr_ratio, nan=0.0) > LEAST_DECAY
    flat |= (np.nan_to_num(o.decay_ratio, nan=1.0) <= 0.0) & (names == "wsd")
    if flat.any():
        yield Finding(
            "undecayed",
            Severity.WARNING,
            f"{int(flat.sum())} of {len(o)} losses were read before the learning rate decayed; "
            "decay lowers them by 1 to 4 %, more in long runs.",
            "Decay them: a cooldown over the last fifth of the tokens.",
            0.2 * float(o.flops[flat].sum()),
        )


def _warmup(o: Observations) -> Iterator[Finding]:
    share = np.nan_to_num(o.warmup_tokens / o.tokens, nan=0.0)
    long = share > LONG_WARMUP
    if long.any():
        yield Finding(
            "long-warmup",
            Severity.WARNING,
            f"Warmup takes {100 * share.min():.0f} to {100 * share.max():.0f} % of the tokens, "
            f"over {100 * LONG_WARMUP:.0f} % in {int(long.sum())} rows: the short runs are held "
            "back, which raises the exponent of N*.",
            "Repeat those rows with a warmup of 5 % of their tokens.",
            float(o.flops[long].sum()),
        )


def _lr_not_scaled(o: Observations) -> Iterator[Finding]:
    if not np.isfinite(o.lr).all() or o.params.max() < SIZES_APART * o.params.min():
        return
    if float(np.ptp(np.log(o.lr))) > 1e-9:
        return
    ends = o.flops[(o.params == o.params.min()) | (o.params == o.params.max())]
    yield Finding(
        "lr-not-scaled",
        Severity.WARNING,
        f"One learning rate ({o.lr[0]:.2g}) serves sizes {o.params.max() / o.params.min():.0f} "
        "times apart; best rates fall about as N^-.4 to N^-.7 (but under muP), so both ends "
        "are under-tuned, and the bend hides in the exponents.",
        "Tune the learning rate at the smallest and the largest size: three rates each.",
        3.0 * float(ends.min() + ends.max()),
    )


def _lr_off_trend(o: Observations) -> Iterator[Finding]:
    """Compare each size's lr with the trend of the others in ln N, ln D and ln B."""
    sizes, index = np.unique(binned(o.params), return_inverse=True)
    if not np.isfinite(o.lr).all() or len(sizes) < 4 or np.ptp(np.log(o.lr)) < 1e-9:
        return
    columns = _trend_columns(o)
    off = np.array([_apart(columns, np.log(o.lr), index == k) for k in range(len(sizes))])
    worst = int(np.argmax(np.abs(off)))
    if abs(off[worst]) > 1.0:
        rows = index == worst
        gap = float(np.exp(_gap(columns, np.log(o.lr), rows)))
        yield Finding(
            "lr-off-trend",
            Severity.WARNING,
            f"The {int(rows.sum())} runs of about {sizes[worst]:.3g} parameters have {gap:.2g} "
            "times the learning rate that the other sizes' trend gives: they may be under-tuned, "
            "and their losses too high.",
            "Repeat the longest of them at the trend's rate.",
            float(o.flops[rows].max()),
        )


def _trend_columns(o: Observations) -> Floats:
    axes = [np.log(o.params), np.log(o.tokens)]
    if np.isfinite(o.batch_tokens).all():
        axes.append(np.log(o.batch_tokens))
    axes = [axis - axis.mean() for axis in axes if np.ptp(axis) > 1e-9]
    return np.column_stack([np.ones(len(o)), *axes])


def _gap(columns: Floats, y: Floats, rows: np.ndarray) -> float:
    slope = np.linalg.lstsq(columns[~rows], y[~rows], rcond=None)[0]
    return float((y[rows] - columns[rows] @ slope).mean())


def _apart(columns: Floats, y: Floats, rows: np.ndarray) -> float:
    """Return how far the rows' mean lies off the others' trend, 1 at the threshold."""
    slope, *_ = np.linalg.lstsq(columns[~rows], y[~rows], rcond=None)
    freedom = max(int((~rows).sum()) - columns.shape[1], 1)
    sd = float(np.sqrt(((y[~rows] - columns[~rows] @ slope) ** 2).sum() / freedom))
    at = columns[rows].mean(axis=0)
    reach = float(at @ np.linalg.pinv(columns[~rows].T @ columns[~rows]) @ at)
    limit = max(float(LR_OFF), LR_SIGMAS * sd * float(np.sqrt(1.0 / rows.sum() + reach)))
    return _gap(columns, y, rows) / limit


def _repeats(o: Observations) -> Iterator[Finding]:
    epochs = np.where(np.isfinite(o.epochs), o.epochs, o.tokens / o.unique_tokens)
    epochs = np.maximum(np.nan_to_num(epochs, nan=1.0), 1.0)
    if epochs.max() <= REPEATED:
        return
    worth = (1.0 - REPEAT_VALUE * np.expm1(-(epochs - 1.0) / REPEAT_VALUE)) / epochs
    many = epochs > REPEATED
    yield Finding(
        "repeated-tokens",
        Severity.WARNING if epochs.max() >= WORN else Severity.INFO,
        f"{int(many.sum())} runs repeat their data, up to {epochs.max():.1f} epochs; their tokens "
        f"are worth about {100 * worth.min():.0f} % of fresh ones, and the law takes D as fresh.",
        "Fit the data-constrained form, or repeat those runs on fresh tokens.",
        float(o.flops[many].sum()),
    )


def _steps(o: Observations) -> Iterator[Finding]:
    steps = np.nan_to_num(o.tokens / o.batch_tokens, nan=np.inf)
    few = steps < FEW_STEPS
    if few.any():
        yield Finding(
            "few-steps",
            Severity.WARNING,
            f"{int(few.sum())} runs took fewer than {FEW_STEPS:.0f} steps, the shortest "
            f"{steps.min():.0f}: so early the loss falls more steeply than the law it follows "
            "later, and the fit takes that for a better use of data.",
            "Drop those rows, or repeat them for four times the tokens or at a quarter of the "
            "batch.",
            4.0 * float(o.flops[few].sum()),
        )
