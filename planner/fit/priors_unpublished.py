"""Beliefs about learning rate and batch where nothing published applies: runs that count no tokens.

The published laws are those of language models under AdamW. For images and the like only orders of
magnitude are believed: any optimizer's usual rates lie within a factor of 50 either way of .05 (sd
2), any best batch within that factor of 64, the rate is neither believed to follow the batch
linearly nor by its root, and the slopes in size and horizon span what was found for any model.
"""

from __future__ import annotations

import numpy as np

from planner.fit.priors import OTHERS, Normal, Priors

USUAL_LR, USUAL_BATCH = 0.05, 64.0
"""Between AdamW's .001 and SGD's 1; between one sample and a few thousand."""

DEPTH = Normal(float(np.log(0.2)), 1.2)
"""ln curvature of a basin (nats): between a language model's .03, and 1.2, where a rate four times
off learns nothing of ten classes (ln 10 / ln^2 4). A belief of .03 alone takes a basin a nat deep
for noise and leaves its minimum unknown by a factor of 7."""

NOTHING = "no published law"
"""How the source of such beliefs begins."""

LEVEL_SD = 2.0
"""sd of ln lr* and ln B*: 90 % lie within a factor of 27."""

SLOPE, SLOPE_SD = 0.5, 0.3
"""Published exponents of lr* in N and D lie within -.66 and .32, of B* in D within .33 and .57."""


def owes_nothing(prior: Priors) -> bool:
    """Say whether beliefs come from :func:`unpublished`."""
    return prior.source.startswith(NOTHING)


def unpublished(unit: str, params: float = 1e5, samples: float = 1e6) -> Priors:
    """Return beliefs at an anchor of ``params`` parameters and ``samples`` of a unit seen."""
    slope, wide = Normal(0.0, SLOPE_SD), Normal(float(np.log(USUAL_BATCH)), LEVEL_SD)
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
        log_k_low=DEPTH,
        log_k_high=DEPTH,
        log_k_batch=DEPTH,
        depth_slope=OTHERS.depth_slope,
        sides=OTHERS.sides,
        lr_scatter=0.3,
        seed_noise=0.02,
        source=f"{NOTHING} counts {unit}: orders of magnitude only",
    )
