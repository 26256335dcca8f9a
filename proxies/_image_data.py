"""Decides which images a proxy trains on, which it is judged on, and in which order they come.

What goes to validation is decided by content alone: images that repeat each other form a group, and
the group goes where the hash of its first image falls. So no copy of a training image is ever
judged on, no seed moves the split, and more images move none of those there were. The ``n`` images
of a smaller data set are the first n in the order of another hash, the same for every run.

A copy is an image whose grey thumbnail of 8 x 8 lies within ``NEAR`` (root mean square, share of
the range): another encoding, size or brightness by a hair; a crop or a mirror image is not found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from planner.errors import DataError
from planner.proxies._image_sources import Images, read_images

NEAR = 0.02
"""A JPEG of quality 75 moves a thumbnail by about .005, neighbours of a digit's class by .1."""

THUMB, COARSE = 8, 4
FEWEST_VALIDATION = 30
OPTIONS = ("source", "images", "validation", "side", "channels", "validation_share")

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Training images in the order of subsets, the frozen validation set, and their hashes."""

    train: Images
    validation: Images
    classes: int
    train_hash: str
    validation_hash: str
    copies: int
    """Training images that were left out because they repeat one of the user's validation set."""

    @property
    def side(self) -> int:
        """Height and width in pixels."""
        return int(self.train.pixels.shape[1])

    @property
    def channels(self) -> int:
        """Colours."""
        return int(self.train.pixels.shape[3])


def prepare_images(data: Mapping[str, Any]) -> ImageSet:
    """Read, split and order the images ``data`` names. Raises DataError."""
    given = {name: value for name, value in data.items() if name != "tokens_needed"}
    if unknown := [name for name in given if name not in OPTIONS]:
        raise DataError(
            f"data has no option `{unknown[0]}` for images; it knows {', '.join(OPTIONS)}"
        )
    share = given.get("validation_share", 0.25)
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
        raise DataError(f"data.validation_share must lie between 0 and 1, not {share!r}")
    own = given.pop("validation", None)
    train = read_images(given)
    if own is None:
        held = _split(train, float(share))
        parts, copies = (train.take(~held), train.take(held)), 0
    else:
        parts, copies = _apart(train, read_images({**given, "images": own, "source": None}))
    return _checked(*parts, copies)


def _checked(train: Images, validation: Images, copies: int) -> ImageSet:
    classes = len(train.names)
    missing = sorted(set(range(classes)) - set(train.labels.tolist()))
    if missing:
        raise DataError(
            f"the class {train.names[missing[0]]} has no training image: classes are numbered "
            "without gaps and every one needs images; add some, or leave the class out"
        )
    if len(validation) < FEWEST_VALIDATION:
        raise DataError(
            f"{len(validation)} images are left to judge by, at least {FEWEST_VALIDATION} are "
            "needed: add images, or raise data.validation_share"
        )
    order = np.argsort([hashlib.sha256(b"order" + one).digest() for one in _contents(train)])
    train = train.take(order)
    return ImageSet(train, validation, classes, _hash(train), _hash(validation), copies)


def _split(images: Images, share: float) -> npt.NDArray[np.bool_]:
    """Say which images (n,) are held out: whole groups of copies, by the hash of their content."""
    group = copies_of(images.pixels)
    marks = (
        np.array(
            [int.from_bytes(hashlib.sha256(one).digest()[:7], "big") for one in _contents(images)],
            dtype=np.float64,
        )
        / 2**56
    )
    first = np.full(int(group.max()) + 1, 1.0)
    np.minimum.at(first, group, marks)
    # The smallest of k marks is no even draw; its own distribution function makes it one.
    even = 1.0 - (1.0 - first) ** np.bincount(group)
    return np.asarray(even[group] < share)


def _apart(train: Images, validation: Images) -> tuple[tuple[Images, Images], int]:
    """Take the training images away that repeat one of the user's own validation set."""
    if validation.names != train.names or validation.pixels.shape[1:] != train.pixels.shape[1:]:
        raise DataError(
            f"training and validation images differ: classes {', '.join(train.names[:5])} against "
            f"{', '.join(validation.names[:5])}, {train.pixels.shape[1:]} against "
            f"{validation.pixels.shape[1:]}"
        )
    group = copies_of(np.concatenate([train.pixels, validation.pixels]))
    copy = np.isin(group[: len(train)], group[len(train) :])
    return (train.take(~copy), validation), int(copy.sum())


def copies_of(pixels: npt.NDArray[np.uint8]) -> Rows:
    """Return a group number (n,) for every image; copies share one.

    Thumbnails pooled further lie at most as far apart, so that a tree of few dimensions finds the
    candidates.
    """
    small = _thumbnails(pixels, THUMB)
    pooled = _thumbnails(pixels, COARSE)
    tree = cKDTree(pooled.reshape(len(pooled), -1))
    a, b = tree.query_pairs(NEAR * COARSE, output_type="ndarray").T
    apart = np.sqrt(((small[a] - small[b]) ** 2).mean(axis=(1, 2)))
    near = apart <= NEAR
    links = coo_array((np.ones(near.sum()), (a[near], b[near])), shape=(len(pixels),) * 2)
    return np.asarray(connected_components(links, directed=False)[1], dtype=np.intp)


def _thumbnails(pixels: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.float64]:
    """Return grey means (n, side, side) from 0 to 1."""
    grey = pixels.mean(axis=3) / 255.0
    for axis in (1, 2):
        edges = np.linspace(0, grey.shape[axis], side + 1)[:-1].astype(int)
        sums = np.add.reduceat(grey, edges, axis=axis)
        counts = np.diff([*edges, grey.shape[axis]]).clip(1)
        grey = sums / counts.reshape((-1, 1) if axis == 1 else (-1,))
    return np.asarray(grey, dtype=np.float64)


def _contents(images: Images) -> list[bytes]:
    return [one.tobytes() for one in images.pixels]


def _hash(images: Images) -> str:
    digest = hashlib.sha256(images.pixels.tobytes())
    digest.update(images.labels.tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Order:
    """The order of ``count`` images under a seed: a new permutation in every epoch."""

    count: int
    seed: int

    def at(self, first: int, size: int) -> Rows:
        """Return the images (size,) at positions ``first`` and on."""
        found: list[Rows] = []
        while size > 0:
            epoch, begin = divmod(first, self.count)
            part = self._permuted(epoch)[begin : begin + size]
            found.append(part)
            first, size = first + len(part), size - len(part)
        return np.concatenate(found)

    def _permuted(self, epoch: int) -> Rows:
        return _permutation(self.count, self.seed, epoch)


@lru_cache(maxsize=2)
def _permutation(count: int, seed: int, epoch: int) -> Rows:
    return np.random.default_rng([seed, epoch]).permutation(count)
