"""Learning rate and batch of another size and horizon, from own sweeps and published priors (MAP).

    ln lr*(N, D, B) = a + p ln(N/N0) + q ln(D/D0) - ln(1 + B_s(D)/B),   ln B_s = s + g ln(D/D0)
    ln B*(D)        = c + r ln(D/D0)

(N0, D0) is the anchor: the size and horizon with most cells. The learning-rate law is fitted to
the cells' ln lr* by Gauss-Newton with a Laplace covariance (``lr_law``; a power of B takes the
place of saturation where own cells, left out, speak for it: ``lr_choice``), the batch law on a
grid of (c, r): a batch optimum at the edge of its grid is a bound and no normal. A learning rate is
never moved over D without a batch: the sign of its change with D hangs on B. Predictions add what
no fit removes:

    sd^2 = x' Sigma x + scatter^2 + (drift * decades of compute outside the cells)^2

Without own cells both laws are the published ones, and the findings say so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from planner.finding import Finding
from planner.fit.batch_law import BatchLaw, fit_batch_law
from planner.fit.cells import (
    BatchSweep,
    Cell,
    SeedNoise,
    batch_sweeps,
    find_cells,
    group_cells,
    noise_of_one_run,
    seed_noise,
    usable,
)
from planner.fit.curvature import at_anchor, depth_slope, pooled, pooled_batch
from planner.fit.hyper_fit import HyperFit
from planner.fit.joint import joint_laws
from planner.fit.lr_choice import LrComparison, compare_forms
from planner.fit.lr_forms import FORMS
from planner.fit.lr_law import LrLaw, fit_lr_law
from planner.fit.parametrization import transfer_prior, uncovered
from planner.fit.priors import PUBLISHED_FLOPS, Priors
from planner.fit.priors_unpublished import is_published, owes_nothing, shrinks, unpublished
from planner.fit.scaling_rule import batch_rule
from planner.fit.transfer_findings import edge_findings, form_findings, transfer_findings
from planner.fit.warmup import fit_warmup
from planner.run import Run
from planner.words import NO_RECIPE, optimizer_of, unit_of


def fit_hyper(
    runs: Sequence[Run],
    *,
    prior: Priors | None = None,
    joint: bool = False,
    recipe: Mapping[str, Any] = NO_RECIPE,
) -> HyperFit:
    """Fit learning rate, batch and warmup to whatever the runs hold; never refuses.

    Used are runs with schedule wsd that are done or diverged. ``prior`` defaults to the published
    beliefs at the anchor. Without a cell of three learning rates the fit is the prior at
    the prior's own anchor: state ``Priors.published(params_non_embedding, tokens)`` near the
    runs in question, or small sizes get absurdly wide intervals. ``joint`` takes the laws from all
    runs at once (:mod:`planner.fit.joint`), for runs that a design placed outside basins.

    ``recipe`` names what beliefs and findings hang on: ``parametrization``, ``unit``, ``optimizer``
    (units but tokens and optimizers but Adam's get wide beliefs,
    :mod:`planner.fit.priors_unpublished`) and ``least_batch``, or a sequence of ``context``.
    """
    runs = usable(runs)
    measured, parametrization = seed_noise(runs), str(recipe.get("parametrization", "sp"))
    unit, optimizer = unit_of(recipe), optimizer_of(recipe)
    beliefs = prior or transfer_prior(_beliefs_at_anchor(runs, unit, optimizer), parametrization)
    noise = noise_of_one_run(measured, beliefs)
    cells = find_cells(runs, beliefs, noise)
    located = batch_sweeps(cells, beliefs, noise)
    forms = compare_forms(cells, beliefs)
    if joint and runs:
        lr_law, batch_law = joint_laws(runs, beliefs, noise.sd)
        flops = [run.flops for run in runs if run.done]
        places = _compared(runs)
    else:
        lr_law = fit_lr_law(cells, beliefs, FORMS[forms.chosen])
        batch_law = fit_batch_law(located, beliefs)
        flops = [cell.flops for cell in cells]
        places = [(cell.params, cell.tokens, cell.batch_tokens) for cell in cells]
    sweeps = tuple(sweep for sweep, _ in located)
    laws = _Laws(beliefs, lr_law, batch_law, forms, cells, sweeps, places)
    rule = batch_rule(cells, beliefs) if owes_nothing(beliefs) else ()
    edges = edge_findings(cells, sweeps, recipe)
    told = (*edges, *uncovered(parametrization), *rule)
    return _hyper_fit(laws, runs, flops, (measured, noise.sd), told)


class _Laws(NamedTuple):
    """The fitted laws, and what they were fitted to."""

    beliefs: Priors
    lr: LrLaw
    batch: BatchLaw
    forms: LrComparison
    cells: tuple[Cell, ...]
    sweeps: tuple[BatchSweep, ...]
    places: Sequence[tuple[float, float, float]]
    """(params, tokens, batch_tokens) where learning rates were told apart."""


def _hyper_fit(
    laws: _Laws,
    runs: Sequence[Run],
    flops: Sequence[float],
    noise: tuple[SeedNoise | None, float],
    told: Sequence[Finding],
) -> HyperFit:
    """Complete the laws by curvatures, warmup and findings, beside those ``told``."""
    beliefs, lr_law, batch_law, forms, cells, sweeps, places = laws
    flops = flops or [*PUBLISHED_FLOPS, 6 * beliefs.params * beliefs.tokens]
    slope = depth_slope(cells, beliefs) if cells and shrinks(beliefs) else 0.0
    depths = [at_anchor(cell, beliefs, slope) for cell in cells if cell.basin.interior]
    return HyperFit(
        prior=beliefs,
        lr_law=lr_law,
        lr_forms=forms,
        batch_law=batch_law,
        k_low=pooled(beliefs.log_k_low, [low for low, _ in depths]),
        k_high=pooled(beliefs.log_k_high, [high for _, high in depths]),
        k_batch=pooled_batch(beliefs, sweeps, slope),
        depth_slope=slope,
        seed_noise=noise[0],
        sigma_seed=noise[1],
        flops=(min(flops), max(flops)),
        n_convention="params_matmul" if cells else "params_non_embedding",
        cells=cells,
        batch_sweeps=sweeps,
        warmup=fit_warmup(runs, sigma=noise[1]),
        findings=(
            *transfer_findings(cells, places, lr_law, batch_law, beliefs),
            *form_findings(forms),
            *told,
        ),
    )


def _compared(runs: Sequence[Run]) -> list[tuple[float, float, float]]:
    """Return the (params, tokens, batch_tokens) at which two learning rates or more were tried."""
    rates: dict[tuple[float, float, float], set[float]] = defaultdict(set)
    for run in runs:
        trial = run.trial
        place = run.size.params_matmul, float(trial.tokens), float(trial.batch_tokens)
        rates[place].add(trial.lr)
    return [place for place, tried in rates.items() if len(tried) > 1]


def _beliefs_at_anchor(runs: Sequence[Run], unit: str, optimizer: str) -> Priors:
    """Return the beliefs at the size and horizon with most cells, published ones if they apply."""
    published = is_published(unit, optimizer)
    places = [
        (first.size.params_matmul, first.size.params_non_embedding, float(first.trial.tokens))
        for first in (group[0] for group in group_cells(runs))
    ]
    if not places:
        return Priors.published() if published else unpublished(unit, optimizer=optimizer)
    params, non_embedding, tokens = max(places, key=lambda p: (places.count(p), -p[0], -p[2]))
    if not published:
        return unpublished(unit, params, tokens, optimizer=optimizer)
    return replace(Priors.published(non_embedding, tokens), params=params)
