"""Beliefs about learning rate and batch where nothing published applies: no tokens, or no AdamW.

The published laws are those of language models under AdamW. For images, for Muon and the like only
orders of magnitude are believed: any optimizer's usual rates lie within a factor of 50 either way
of .05 (sd 2), any best batch within that factor of 64 samples (tokens: more of them, the longer the
run), the rate is neither believed to follow the batch linearly nor by its root, and the slopes in
size and horizon span what was found for any model. What is published of Muon's relatives (Filatov
2025, Scion: lr ~ B^.62 D^-.56) was found under another scale of the update, and lies inside.
"""

from __future__ import annotations

import numpy as np

from planner.fit.priors import OTHERS, Normal, Priors
from planner.words import TOKENS

USUAL_LR, USUAL_BATCH = 0.05, 64.0
"""Between AdamW's .001 and SGD's 1; between one sample and a few thousand."""

DEPTH = Normal(float(np.log(0.2)), 1.2)
"""ln curvature of a basin (nats): between a language model's .03, and 1.2, where a rate four times
off learns nothing of ten classes (ln 10 / ln^2 4). A belief of .03 alone takes a basin a nat deep
for noise and leaves its minimum unknown by a factor of 7."""

TOKEN_BATCH, TOKEN_HORIZON = 64 * 128.0, 1e8
"""64 short sequences, in the middle (in logs) of the horizons from 1e5 to 1e11; carried from there
by SLOPE, for a single constant is off by a factor of 30 at either end."""

NOTHING = "no published law"
"""How the source of such beliefs begins."""

LEVEL_SD = 2.0
"""sd of ln lr* and ln B*: 90 % lie within a factor of 27."""

SLOPE, SLOPE_SD = 0.5, 0.3
"""Published exponents of lr* in N and D lie within -.66 and .32, of B* in D within .33 and .57."""


def owes_nothing(prior: Priors) -> bool:
    """Say whether beliefs come from :func:`unpublished`."""
    return prior.source.startswith(NOTHING)


def shrinks(prior: Priors) -> bool:
    """Say whether basins are believed to become shallower: of samples other than tokens."""
    return owes_nothing(prior) and prior.log_k_low == DEPTH


def is_published(unit: str, optimizer: str) -> bool:
    """Say whether published laws speak of runs that count ``unit`` under an optimizer.

    One that a recipe does not name (an empty string) is taken for AdamW.
    """
    return unit == TOKENS and (not optimizer or optimizer.lower().startswith("adam"))


def unpublished(
    unit: str, params: float = 1e5, samples: float = 1e6, *, optimizer: str = ""
) -> Priors:
    """Return beliefs at an anchor of ``params`` parameters and ``samples`` of a unit seen."""
    usual_batch = USUAL_BATCH
    if unit == TOKENS:
        usual_batch = TOKEN_BATCH * (samples / TOKEN_HORIZON) ** SLOPE
    depth = OTHERS.log_k_low if unit == TOKENS else DEPTH
    slope, wide = Normal(0.0, SLOPE_SD), Normal(float(np.log(usual_batch)), LEVEL_SD)
    why = f"counts {unit}" if unit != TOKENS else f"of AdamW holds for {optimizer}"
    return Priors(
        params=params,
        tokens=samples,
        level=Normal(float(np.log(USUAL_LR)), LEVEL_SD),
        size_slope=slope,
        token_slope=slope,
        noise_batch=wide,
        noise_batch_slope=Normal(SLOPE, SLOPE_SD),
        batch=wide,
        batch_slope=Normal(SLOPE, SLOPE_SD),
        log_k_low=depth,
        log_k_high=depth,
        log_k_batch=depth,
        depth_slope=OTHERS.depth_slope,
        sides=OTHERS.sides,
        lr_scatter=0.3,
        seed_noise=0.02,
        source=f"{NOTHING} {why}: orders of magnitude only",
    )
