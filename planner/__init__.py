"""planner decides what to train before the money is spent; these are its public names.

    runs = read_runs("runs.csv").observations
    fit = fit_loss(runs)
    fit.predict(np.array([7e9]), np.array([1.4e11]))[0]     # value, low, high at 90 %, predictive

Each name is loaded on first use, so that ``import planner`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from planner.estimate import Estimate
    from planner.finding import Finding
    from planner.fit.curve import fit_curve
    from planner.fit.engine import fit_loss
    from planner.fit.error_map import fit_error_map
    from planner.fit.isoflop import isoflop
    from planner.fit.loss_fit import LossFit
    from planner.observations import Observations
    from planner.table import import_runs, read_runs

_HOMES = {
    "Estimate": "planner.estimate",
    "Finding": "planner.finding",
    "LossFit": "planner.fit.loss_fit",
    "Observations": "planner.observations",
    "fit_curve": "planner.fit.curve",
    "fit_error_map": "planner.fit.error_map",
    "fit_loss": "planner.fit.engine",
    "import_runs": "planner.table",
    "isoflop": "planner.fit.isoflop",
    "read_runs": "planner.table",
}

__all__ = [
    "Estimate",
    "Finding",
    "LossFit",
    "Observations",
    "fit_curve",
    "fit_error_map",
    "fit_loss",
    "import_runs",
    "isoflop",
    "read_runs",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    """Load a public name from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module 'planner' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
