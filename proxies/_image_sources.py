"""Reads images into memory: the digits of scikit-learn, a folder per class, or a .npz file.

    source: digits      1,797 handwritten digits of 8 x 8 pixels (UCI; no download)
    images: FOLDER      one folder per class, as torchvision's ImageFolder; read by Pillow and
                        resized to ``side``
    images: FILE.npz    arrays ``images`` (n, side, side[, channels]), 0-255 or floats 0-1, and
                        ``labels``

Everything is held as bytes in memory. Nothing in a .npz is ever unpickled.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from planner.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
SIDE = 32
"""Pixels a folder's images are resized to, unless ``side`` says otherwise."""


@dataclass(frozen=True, slots=True)
class Images:
    """Pixels (n, side, side, channels), labels (n,) and the names of the classes."""

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: npt.NDArray[Any]) -> Self:
        """Return some of the images, by mask or index."""
        return type(self)(self.pixels[rows], self.labels[rows], self.names)


def read_images(data: Mapping[str, Any]) -> Images:
    """Read what ``data`` names; the digits where it names nothing. Raises DataError."""
    source, place = data.get("source"), data.get("images")
    if source and place:
        raise DataError("data names both a `source` and `images`; leave one of them out")
    if place is None:
        if source not in (None, "digits"):
            raise DataError(
                f"there is no image source {source!r}: write `source: digits`, or name your own "
                "with `images: FOLDER` (a folder per class) or `images: FILE.npz`"
            )
        return _digits()
    if not isinstance(place, str):
        raise DataError(f"data.images must be a path, not {place!r}")
    path = Path(place).expanduser()
    if path.is_dir():
        return _folder(path, _count(data, "side", SIDE), _count(data, "channels", 3))
    if path.suffix == ".npz" and path.is_file():
        return _arrays(path)
    raise DataError(f"{place} is neither a folder with a folder per class nor a .npz file")


def _count(data: Mapping[str, Any], name: str, default: int) -> int:
    value = data.get(name, default)
    allowed = (1, 3) if name == "channels" else range(4, 1025)
    if isinstance(value, bool) or value not in allowed:
        said = "1 (grey) or 3 (colour)" if name == "channels" else "4 to 1024 pixels"
        raise DataError(f"data.{name} must be {said}, not {value!r}")
    return int(value)


def _digits() -> Images:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError(
            f"the digits come with scikit-learn, which cannot be loaded ({error}): install "
            "scikit-learn, or name your own images with `data: {images: FOLDER}`"
        ) from error
    found = load_digits()
    pixels = np.round(found.images * (255 / 16)).astype(np.uint8)[..., None]
    return Images(pixels, found.target.astype(np.int64), tuple("0123456789"))


def _folder(root: Path, side: int, channels: int) -> Images:
    names = sorted(entry.name for entry in root.iterdir() if entry.is_dir())
    if len(names) < 2:
        raise DataError(
            f"{root} holds {'one folder' if names else 'no folders'}; every class of images is a "
            "folder of its own, and there are at least two"
        )
    pixels, labels = [], []
    for label, name in enumerate(names):
        for file in sorted(p for p in (root / name).rglob("*") if p.suffix.lower() in SUFFIXES):
            pixels.append(_pixels(file, side, channels))
            labels.append(label)
    if not pixels:
        raise DataError(f"{root} holds no images ({', '.join(SUFFIXES)})")
    return Images(np.stack(pixels), np.array(labels, dtype=np.int64), tuple(names))


def _pixels(file: Path, side: int, channels: int) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            plain = image.convert("L" if channels == 1 else "RGB").resize((side, side))
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(f"{file} cannot be read as an image: {error}") from error
    return np.asarray(plain, dtype=np.uint8).reshape(side, side, channels)


def _arrays(path: Path) -> Images:
    try:
        with np.load(path, allow_pickle=False) as held:
            missing = [name for name in ("images", "labels") if name not in held]
            if missing:
                raise DataError(
                    f"{path} has no array `{missing[0]}`; it has {', '.join(held.files)}. Save it "
                    "with numpy.savez(path, images=..., labels=...)"
                )
            pixels, labels = held["images"], held["labels"]
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as arrays: {error}") from error
    return _as_images(path, pixels, labels)


def _as_images(path: Path, pixels: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Images:
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    fits = pixels.ndim == 4 and pixels.shape[1] == pixels.shape[2] and labels.ndim == 1
    if not fits or len(pixels) != len(labels) or not len(labels):
        raise DataError(
            f"{path}: `images` {pixels.shape} must be (n, side, side) or (n, side, side, channels) "
            f"and `labels` {labels.shape} (n,)"
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        found = f"from {labels.min()}" if labels.dtype.kind == "i" else str(labels.dtype)
        raise DataError(
            f"{path}: `labels` must be whole numbers from 0 on, not {found}; "
            "numpy.unique(labels, return_inverse=True)[1] makes such numbers of any labels"
        )
    if labels.max() == 0:
        raise DataError(f"{path}: every label is 0; a classifier needs at least two classes")
    if pixels.dtype.kind == "f":
        if not (np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1):
            raise DataError(f"{path}: `images` of floats must lie between 0 and 1")
        pixels = np.round(pixels * 255)
    elif pixels.dtype != np.uint8:
        raise DataError(f"{path}: `images` must be bytes (uint8) or floats, not {pixels.dtype}")
    names = tuple(str(label) for label in range(int(labels.max()) + 1))
    return Images(pixels.astype(np.uint8), labels.astype(np.int64), names)
