"""Small pictures of four patterns, and small trials on them."""

from dataclasses import replace

import numpy as np

from planner.run import Schedule, Trial

BATCH = 16


def pictures(count=240, side=8, seed=0):
    """Return bytes (count, side, side) and labels: bars at four places under noise."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % 4
    images = draw.integers(0, 120, (count, side, side))
    for row, label in enumerate(labels):
        bar = slice(2 * (label // 2) + 2, 2 * (label // 2) + 4)
        images[row][(bar, slice(None)) if label % 2 else (slice(None), bar)] += 100
    return images.astype(np.uint8), labels.astype(np.int64)


def save(path, count=240, **arrays):
    images, labels = pictures(count)
    np.savez(path, **({"images": images, "labels": labels} | arrays))
    return {"images": str(path)}


def trial(steps=150, **changes):
    start = Trial(
        "t",
        {"width": 4, "depth": 1},
        steps * BATCH,
        BATCH,
        0.1,
        20 * BATCH,
        schedule=Schedule("wsd", 0.2),
        seed=3,
    )
    return replace(start, **changes)
