"""Tokens of a noisy cycle: easy enough to learn in seconds, never learned exactly."""

import numpy as np


def write_tokens(folder):
    """Write train.bin and validation.bin; return the ``data`` mapping that reads them."""
    noise = np.random.default_rng(0)
    for name, count in (("train", 80_000), ("validation", 5_000)):
        tokens = np.arange(count) % 7 + 7 * noise.integers(0, 2, count)
        tokens.astype(np.uint16).tofile(folder / f"{name}.bin")
    return {
        "tokens": str(folder / "train.bin"),
        "validation": str(folder / "validation.bin"),
        "evaluation_tokens": 4_096,
    }
