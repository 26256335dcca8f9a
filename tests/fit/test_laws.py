from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from planner.errors import UsageError
from planner.fit.laws import CHINCHILLA, CHINCHILLA_TIED, optimal_params
from planner.fit.registry import law_named

BESIROGLU = np.array([1.8172, 482.01, 2085.43, 0.3478, 0.3658])


@pytest.mark.parametrize(
    ("flops", "params", "tokens"),
    [(1e19, 2.62e8, 6.36e9), (1e21, 2.78e9, 6.00e10), (5.76e23, 7.2e10, 1.33e12)],
)
def test_optimum_of_the_published_law(flops, params, tokens):
    best = float(optimal_params(BESIROGLU, flops))
    assert best == pytest.approx(params, rel=0.01)
    assert flops / (6 * best) == pytest.approx(tokens, rel=0.01)


def test_no_size_at_equal_compute_beats_the_optimum():
    best = optimal_params(BESIROGLU, 1e20)
    sizes = best * np.exp(np.linspace(-1, 1, 201))
    loss = CHINCHILLA.predict(BESIROGLU, sizes, 1e20 / (6 * sizes))
    assert loss.argmin() == 100


def test_gradient_matches_differences():
    params, tokens = np.array([1e5, 1e8]), np.array([3e6, 1e10])
    gradient = CHINCHILLA.gradient(BESIROGLU, params, tokens)
    for i, value in enumerate(BESIROGLU):
        step = np.zeros(5)
        step[i] = 1e-6 * value
        up, down = (CHINCHILLA.predict(BESIROGLU + s * step, params, tokens) for s in (1, -1))
        assert gradient[:, i] == pytest.approx((up - down) / (2e-6 * value), rel=1e-5)


def test_many_parameter_vectors_at_once():
    theta = np.stack([BESIROGLU, BESIROGLU * 1.01])
    loss = CHINCHILLA.predict(theta, np.array([1e8, 1e9, 1e10]), np.array([1e9, 1e10, 1e11]))
    assert loss.shape == (2, 3)


def test_laws_are_found_by_name():
    assert law_named("chinchilla-tied") is CHINCHILLA_TIED
    assert CHINCHILLA_TIED.n_free == 4
    with pytest.raises(UsageError, match="known: auto, chinchilla"):
        law_named("chinchila")


def test_importing_the_laws_is_cheap():
    code = (
        "import sys, planner.fit.laws;"
        "print([m for m in ('scipy', 'torch', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_fitting_pulls_in_no_heavy_library():
    code = (
        "import sys, planner.fit.loss_fit, planner.fit.held_out;"
        "print([m for m in ('torch', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
