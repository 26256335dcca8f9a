"""Which form of lr*(N, D, B) own cells speak for: planted saturation, planted power, few cells."""

import numpy as np
import pytest

from planner.fit.cells import Cell
from planner.fit.lr_choice import compare_forms
from planner.fit.lr_forms import POWER, SATURATING
from planner.fit.lr_law import LrLaw, fit_lr_law
from planner.fit.optimum import Basin
from planner.fit.priors import Normal, Priors

PRIOR = Priors.published(1e8, 2e9)
BATCHES = 2.0 ** np.arange(14, 22)


def cell(params: float, tokens: float, batch: float, log_lr: float, sd: float = 0.1) -> Cell:
    side = Normal(-4.0, 0.5)
    basin = Basin(
        log_lr, sd, log_lr - 2 * sd, log_lr + 2 * sd, log_lr, 2.0, 0.01, side, side,
        (log_lr - sd, log_lr + sd), interior_low=True, interior_high=True,
    )  # fmt: skip
    return Cell(params, params, tokens, batch, 0.0, 6 * params * tokens, basin, (1e-4, 1e-1), ())


def planted(form: str, *, scatter: float = 0.1, seed: int = 0) -> list[Cell]:
    rng = np.random.default_rng(seed)
    cells = []
    for params, tokens in ((5e7, 1e9), (1e8, 2e9), (2e8, 4e9), (2e8, 1e9)):
        for batch in BATCHES:
            log_lr = -6.0 - 0.6 * np.log(params / 1e8) + 0.2 * np.log(tokens / 2e9)
            if form == SATURATING.name:
                log_lr -= np.log1p(1e5 * (tokens / 2e9) ** 0.7 / batch)
            else:
                log_lr += 0.5 * np.log(batch / 1e5)
            log_lr += scatter * rng.standard_normal()
            cells.append(cell(params, tokens, float(batch), float(log_lr)))
    return cells


@pytest.mark.parametrize("form", [SATURATING.name, POWER.name])
def test_the_planted_form_is_found_by_left_out_sizes(form: str) -> None:
    found = compare_forms(planted(form), PRIOR)
    assert found.chosen == form
    assert found.left_out == "size"
    assert found.errors[form] == min(found.errors.values())
    assert found.errors[form] < 0.2


def test_two_sizes_are_compared_cell_by_cell() -> None:
    found = compare_forms([c for c in planted("power") if c.params != 1e8], PRIOR)
    assert (found.left_out, found.chosen) == ("cell", "power")


def test_too_few_cells_keep_the_published_form() -> None:
    found = compare_forms(planted("power")[:3], PRIOR)
    assert (found.chosen, found.errors, found.left_out) == ("saturating", {}, "nothing")


def test_noise_alone_rarely_takes_the_published_form_away() -> None:
    """At two standard errors the power law should win by chance in a few per cent of studies."""
    few = [planted("saturating", scatter=0.5, seed=seed)[::3] for seed in range(40)]
    assert sum(compare_forms(cells, PRIOR).chosen == "power" for cells in few) <= 4


def test_the_power_form_predicts_and_survives_json() -> None:
    law = fit_lr_law(planted("power"), PRIOR, POWER)
    mean, sd = law.predict(4e8, 2e9, 1e5)
    assert mean == pytest.approx(-6.0 - 0.6 * np.log(4), abs=4 * sd + 0.05)
    read = LrLaw.from_json(law.to_json())
    assert read.predict(4e8, 2e9, 1e5) == (mean, sd)
    assert set(law.conflicts(PRIOR)) <= set(POWER.parameters)


@pytest.mark.parametrize("scatter", [0.08, 0.35])
def test_the_scatter_of_cells_is_learnt(scatter: float) -> None:
    law = fit_lr_law(planted("saturating", scatter=scatter), PRIOR)
    # cells are drawn without error of their own but claim .1
    assert law.scatter == pytest.approx(max(scatter, 0.08), rel=0.4)
    assert fit_lr_law([], PRIOR).scatter == PRIOR.lr_scatter
