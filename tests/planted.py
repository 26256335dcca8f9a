"""A fit with known parameters, so that decisions can be compared with closed forms."""

from __future__ import annotations

import numpy as np

from planner.fit.loss_fit import FitRange, LossFit, Member

BESIROGLU = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
"""Besiroglu et al. 2024, Chinchilla refitted."""


def planted_fit(
    *, exponent_sd: float = 0.02, largest: float = 1e22, status: str = "converged", draws: int = 400
) -> LossFit:
    """Return the refitted Chinchilla law with normal draws of ln alpha and ln beta."""
    rng = np.random.default_rng(0)
    theta = np.tile(np.array(list(BESIROGLU.values())), (draws, 1))
    theta[:, 3:] *= np.exp(exponent_sd * rng.standard_normal((draws, 2)))
    return LossFit(
        law="chinchilla",
        params=dict(BESIROGLU),
        draws=theta,
        names=tuple(BESIROGLU),
        sigma=0.003,
        status=status,
        range=FitRange((5e7, 1.6e10), (1e9, 1e12), (1e18, largest), 240, 30),
        method="planted",
        members=(Member("chinchilla", 1.0, dict(BESIROGLU), theta, float("nan")),),
        n_convention="params_matmul",
        flops_convention="6ND",
    )
