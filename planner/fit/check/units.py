"""Doubts about what a column counts: tokens or sequences, nats or bits, which parameters and FLOPs.

What is looked for are contradictions inside the table: C against 6 N D, tokens per parameter no
run ever had, two parameter counts for one shape, losses that differ by a change of logarithm. A
unit that is wrong alike in every row leaves the law's fit as it was and can only be seen in
D / N or C / 6 N D; a loss wholly in bits changes no decision at all.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from planner.arrays import Flags, Floats
from planner.finding import Finding, Severity
from planner.fit.check.groups import numbered, spread
from planner.fit.check.populations import split
from planner.observations import Observations

PER_PARAM = (0.1, 1e5)
"""Tokens per parameter of any language model worth a row: published runs lie within .25 to 10^4."""
RATIO = (0.1, 20.0)
"""C / 6 N D: embeddings in N, or the forward pass alone, lower it; long context raises it."""
FORWARD_ONLY = 0.5
EXACT, OTHER = 1e-3, 0.02
"""C counts as 6 N D within .1 %, and as something else from 2 % on."""
INT64 = 2.0**63
ONE_UNIT = 0.5
"""A wrong unit shifts ln C alike in every row; what overflowed lies anywhere."""
BASES = {
    "nats and bits": np.log(1.0 / np.log(2.0)),
    "nats and decimal digits": np.log(np.log(10.0)),
    "bits and decimal digits": np.log(np.log(10.0) / np.log(2.0)),
}
"""Ratio of one loss in two units, as a difference of ln loss."""
BASE_TOLERANCE = 0.06
SAME_COUNT = 0.05
"""Rounded feed-forward widths and grouped heads move N by up to a few per cent."""
SAME_SIZE, SAME_COST, LEAST_TWINS = 0.005, 2e-4, 2
"""Differences of ln N, and of ln C / D, that rounding explains; two models may agree by chance."""


def check_units(o: Observations) -> Iterator[Finding]:
    """Yield doubts about units and conventions of tokens, params, flops and loss.

    None where a proxy of another kind counted all of them itself.
    """
    if o.flops_convention == "counted":
        return
    yield from _tokens_per_param(o)
    yield from _compute(o)
    yield from _loss_base(o)
    yield from _one_shape_two_counts(o)
    if o.n_convention == "unspecified":
        yield Finding(
            "n-convention",
            Severity.INFO,
            "The table says `params` without saying which parameters count; the law holds for "
            "this table's convention only.",
            "Name the column params_matmul, params_non_embedding or params_total.",
        )


def _tokens_per_param(o: Observations) -> Iterator[Finding]:
    ratio = o.tokens / o.params
    few, many = ratio < PER_PARAM[0], ratio > PER_PARAM[1]
    if few.any():
        yield Finding(
            "units-tokens",
            Severity.BLOCKING,
            f"{_rows(few, o)} saw {np.median(ratio[few]):.2g} tokens per parameter; tokens look "
            "like sequences, steps, or millions of tokens.",
            "Map the column with its factor, as in --map 'sequences*2048=tokens'.",
        )
    if many.any():
        yield Finding(
            "units-params",
            Severity.BLOCKING,
            f"{_rows(many, o)} saw {np.median(ratio[many]):.2g} tokens per parameter; params look "
            "like millions or billions of parameters.",
            "Map the column with its factor, as in --map 'size_m*1e6=params'.",
        )


def _compute(o: Observations) -> Iterator[Finding]:
    """Compare C with 6 N D, in every row and between rows."""
    expected = 6.0 * o.params * o.tokens
    log_ratio = np.log(o.flops / expected)
    off = (log_ratio < np.log(RATIO[0])) | (log_ratio > np.log(RATIO[1]))
    wrapped = off & (expected >= INT64) & (o.flops < INT64)
    if wrapped.any() and (wrapped == off).all() and np.ptp(log_ratio[wrapped]) > ONE_UNIT:
        yield Finding(
            "flops-overflow",
            Severity.BLOCKING,
            f"{_rows(wrapped, o)} have flops below 2^63 where 6 N D lies above: 64-bit integers "
            "overflowed.",
            "Leave the column out, or compute it in floating point.",
        )
    elif off.any():
        yield Finding(
            "units-flops",
            Severity.BLOCKING,
            f"{_rows(off, o)} have C = {np.exp(np.median(log_ratio[off])):.3g} times 6 N D; one of "
            "params, tokens and flops is in another unit (sequences, millions, GFLOPs).",
            "Compare one row with its training log, and map the column with its factor.",
        )
    else:
        yield from _conventions(o, log_ratio)


def _conventions(o: Observations, log_ratio: Floats) -> Iterator[Finding]:
    exact, other = np.abs(log_ratio) < EXACT, np.abs(log_ratio) > OTHER
    apart = float(spread(log_ratio, numbered(o.params)).max())
    beside = exact.any() and other.any() and o.params[other].max() >= o.params[exact].min()
    if beside or apart > OTHER:
        yield Finding(
            "flops-mixed",
            Severity.WARNING,
            f"C is 6 N D in {int(exact.sum())} rows and up to {100 * np.ptp(log_ratio):.0f} % more "
            f"in others of like size ({_rows(other, o)}): FLOPs are counted in two ways.",
            "Recompute C of every row under one convention; nothing need be trained.",
        )
    elif np.median(log_ratio) < np.log(FORWARD_ONLY):
        yield Finding(
            "flops-low",
            Severity.WARNING,
            f"C is {np.exp(np.median(log_ratio)):.2f} times 6 N D: FLOPs of the forward pass "
            "alone, or parameters with a large embedding.",
            "Give FLOPs of forward and backward pass for the parameters that are counted.",
        )


def _loss_base(o: Observations) -> Iterator[Finding]:
    """Look for rows whose ln loss is off by a change of logarithm."""
    if len(o) < 8:
        return
    x, z = (np.log(c) - np.log(c).mean() for c in (o.params, o.tokens))
    found = split(np.column_stack([np.ones(len(o)), x, z, x * x, z * z]), np.log(o.loss))
    if not found.real and found.left > 0.3:
        return
    for names, shift in BASES.items():
        if abs(found.shift - shift) < BASE_TOLERANCE:
            yield Finding(
                "units-loss",
                Severity.BLOCKING,
                f"Losses fall into two groups, {np.exp(found.shift):.3f} times apart, as {names} "
                f"are: {_rows(found.high, o)} have the higher unit.",
                "Convert the column to nats per token in every row.",
            )
            return


def _one_shape_two_counts(o: Observations) -> Iterator[Finding]:
    """Look for models known by width and depth, or by C / D, that have two parameter counts."""
    shaped = bool((np.isfinite(o.width) & np.isfinite(o.depth)).all())
    if shaped and (apart := _bookkeeping(o)) > SAME_COUNT:
        yield _n_mixed(
            f"Parameters leave the line a depth width^2 + b width by up to {100 * apart:.0f} %"
        )
        return
    cost = np.round(np.log(o.flops / o.tokens) / SAME_COST)
    models = np.column_stack([o.depth, o.width] if shaped else [cost])
    counts = spread(np.log(o.params), numbered(models))
    mixed = int((counts > SAME_SIZE).sum())
    if mixed >= (1 if shaped else LEAST_TWINS):
        name = "width and depth" if shaped else "FLOPs per token"
        yield _n_mixed(
            f"{mixed} models known by their {name} have two parameter counts, up to "
            f"{100 * np.expm1(counts.max()):.0f} % apart"
        )


def _bookkeeping(o: Observations) -> float:
    """Return the largest relative distance of N from a depth width^2 + b width."""
    if len(np.unique(o.params)) < 4:
        return 0.0
    terms = np.column_stack([o.depth * o.width**2, o.width]) / o.params[:, None]
    line = np.linalg.lstsq(terms, np.ones(len(o)), rcond=None)[0]
    return float(np.abs(terms @ line - 1.0).max())


def _n_mixed(what: str) -> Finding:
    return Finding(
        "n-mixed",
        Severity.WARNING,
        f"{what}: embeddings are counted in some rows only.",
        "Count N in one way in every row; nothing need be trained.",
    )


def _rows(which: Flags, o: Observations) -> str:
    names = ", ".join(o.key[i] for i in np.flatnonzero(which)[:4])
    if which.all():
        return f"all {len(o)} rows"
    return f"{int(which.sum())} of {len(o)} rows ({names}{', ...' if which.sum() > 4 else ''})"
