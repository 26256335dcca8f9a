"""What must be said about a hyperparameter fit: what it did not see, and where it contradicts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from planner.finding import Finding, Severity
from planner.fit.batch_law import BatchLaw, batch_conflict
from planner.fit.cells import BatchSweep, Cell
from planner.fit.lr_choice import LrComparison
from planner.fit.lr_forms import POWER
from planner.fit.lr_law import LrLaw
from planner.fit.priors import Priors
from planner.fit.priors_unpublished import owes_nothing

CONFLICT_SD = 2.0
"""Prior and data contradict each other beyond this many sd."""

NO_SMALLER = (
    "longer horizons, whose best batch is larger; no smaller batch can be tried, and what it would "
    "gain the plan cannot use"
)

MEANING = {
    "level": "the learning rate at the anchor",
    "size_slope": "how the learning rate changes with size",
    "token_slope": "how the learning rate changes with the horizon",
    "noise_batch": "the batch at which the learning rate saturates",
    "noise_batch_slope": "how that batch changes with the horizon",
    "batch_exponent": "how the learning rate changes with the batch",
    "batch": "the best batch at the anchor",
}


def transfer_findings(
    cells: Sequence[Cell],
    places: Sequence[tuple[float, float, float]],
    lr_law: LrLaw,
    batch_law: BatchLaw,
    prior: Priors,
) -> tuple[Finding, ...]:
    """Return the findings of a fit: gaps in its evidence and conflicts with what is believed.

    ``places`` are the (params, tokens, batch_tokens) at which learning rates were told apart.
    """
    if not cells:
        are = "orders of magnitude" if owes_nothing(prior) else "published priors"
        what = f"No learning-rate basin was measured; learning rate and batch are {are}."
        remedy = "sweep three learning rates or more at one size, horizon and batch"
        return (Finding("lr-prior-only", Severity.WARNING, what, remedy),)
    return (
        *_gaps(cells, places),
        *_conflicts(lr_law.conflicts(prior) | {"batch": batch_conflict(batch_law, prior)}, prior),
    )


def form_findings(forms: LrComparison) -> tuple[Finding, ...]:
    """Say which form of lr*(N, D, B) own cells speak for; nothing where there were too few."""
    if not forms.errors:
        return ()
    said = " and ".join(f"the {name} form by {error:.2f}" for name, error in forms.errors.items())
    what = (
        f"With one {forms.left_out} left out at a time, {said} in ln lr* ({forms.cells} cells); "
        f"used: {forms.chosen}."
    )
    if forms.chosen != POWER.name:
        return (Finding("lr-form", Severity.INFO, what),)
    what += " A power of the batch overshoots beyond the batches tried, where saturation begins."
    remedy = "sweep the learning rate at a batch four times the largest one tried"
    return (Finding("lr-form", Severity.WARNING, what, remedy),)


def _gaps(cells: Sequence[Cell], places: Sequence[tuple[float, float, float]]) -> list[Finding]:
    found = []
    sizes, tokens, batches = (set(axis) for axis in zip(*places, strict=True))
    cost = 3 * max(cell.flops for cell in cells)
    if len(sizes) < 2:
        what = "The learning rate was swept at one size; its change with size is the prior's."
        remedy = "sweep three learning rates at a second size"
        found.append(Finding("lr-one-size", Severity.WARNING, what, remedy, 4 * cost))
    if len(tokens) < 2:
        what = "The learning rate was swept at one horizon; its change with tokens is the prior's."
        remedy = "sweep three learning rates at a second horizon"
        found.append(Finding("lr-one-horizon", Severity.WARNING, what, remedy, 4 * cost))
    if len(batches) < 2:
        what = "The batch was never varied; the best batch is the prior's."
        remedy = "sweep the learning rate at three batches, x4 apart"
        found.append(Finding("batch-not-varied", Severity.WARNING, what, remedy, 2 * cost))
    horizons: dict[float, set[float]] = defaultdict(set)
    for _, horizon, batch in places:
        horizons[horizon].add(batch)
    if len(horizons) > 1 and all(len(varied) == 1 for varied in horizons.values()):
        what = (
            "The learning rate was swept at several horizons, each at a single batch: its change "
            "with tokens has the other sign at another batch, and the two cannot be told apart."
        )
        remedy = "sweep the learning rate at three batches, x4 apart, at one of the horizons"
        found.append(Finding("lr-tokens-or-batch", Severity.WARNING, what, remedy, 2 * cost))
    return found


def edge_findings(
    cells: Sequence[Cell], sweeps: Sequence[BatchSweep], recipe: Mapping[str, Any]
) -> tuple[Finding, ...]:
    """Return the optima that may lie beyond their grids, and how to bring them inside."""
    found = []
    for cell in cells:
        if not cell.basin.interior:
            side = "above" if cell.basin.interior_low else "below"
            edge = cell.tested[1] if cell.basin.interior_low else cell.tested[0]
            what = (
                f"At {cell.params:.3g} parameters, {cell.tokens:.3g} tokens and batch "
                f"{cell.batch_tokens:.0f} the best learning rate may lie {side} {edge:.3g}, "
                "the edge of the grid."
            )
            remedy = f"extend the grid {side} {edge:.3g}"
            found.append(Finding("lr-at-edge", Severity.WARNING, what, remedy, cell.flops))
    for sweep in sweeps:
        if not sweep.basin.interior:
            side = "above" if sweep.basin.interior_low else "below"
            edge = sweep.tested[-1] if sweep.basin.interior_low else sweep.tested[0]
            least = side == "below" and edge <= _least_batch(recipe)
            what = (
                f"At {sweep.params:.3g} parameters and {sweep.tokens:.3g} tokens the best batch "
                f"may lie {side} {edge:.0f} tokens, "
                f"{'the smallest of this proxy' if least else 'the edge of the grid'}: "
                "it is a bound."
            )
            remedy = NO_SMALLER if least else f"try batches {side} {edge:.0f} tokens"
            severity = Severity.INFO if least else Severity.WARNING  # there is nothing to be done
            found.append(Finding("batch-at-edge", severity, what, remedy))
    return tuple(found)


def _least_batch(recipe: Mapping[str, Any]) -> float:
    """Return the smallest batch a proxy can train at, 0 where its recipe does not tell.

    A sequence of ``context`` tokens binds proxies; what a command makes of it is its own affair.
    """
    context = 0 if recipe.get("proxy") == "command" else recipe.get("context", 0)
    return float(recipe.get("least_batch", context) or 0)  # a recipe may say that it has none


def _conflicts(moved: dict[str, float], prior: Priors) -> list[Finding]:
    belief = "the usual orders of magnitude" if owes_nothing(prior) else "the published prior"
    return [
        Finding(
            "prior-data-conflict",
            Severity.WARNING,
            f"Own data put {MEANING[name]} {abs(sds):.1f} sd {'above' if sds > 0 else 'below'} "
            f"{belief}.",
            "check that optimizer, parametrisation and schedule are those you will train with",
        )
        for name, sds in moved.items()
        if np.abs(sds) > CONFLICT_SD
    ]
