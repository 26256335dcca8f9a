"""Decides what the corpus ``python-source`` is: real text that is on every machine already.

The .py files of the running interpreter's standard library, without its tests, and of some packages
that are installed beside planner with all they need to run, in the order of their content hash: a
sweep that needs more extends the sample of one that needed less. Split by package.
"""

from __future__ import annotations

import hashlib
import os
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from planner.proxies._sources import Split, TextSource, held_out_units

ROOTS = (
    "jinja2",
    "matplotlib",
    "numba",
    "numpy",
    "optuna",
    "packaging",
    "pandas",
    "pyarrow",
    "pydantic",
    "rich",
    "ruamel.yaml",
    "scipy",
    "torch",
    "typer",
    "zstandard",
)
"""Named here, not read from the requirements, so that a new one leaves every study's text alone."""

_NOT_LIBRARY = {"site-packages", "dist-packages", "__pycache__"}
_TESTS = {"test", "tests", "idle_test"}


def python_source() -> TextSource:
    """Return the standard library and the installed dependencies as documents."""
    found, missing = runtime_closure(ROOTS)
    versions = sorted((name, dist.version) for name, dist in found.items())
    return TextSource(
        [sys.version, sysconfig.get_path("stdlib"), versions, missing],
        partial(_split_packages, found, missing),
    )


def runtime_closure(roots: Sequence[str]) -> tuple[dict[str, Distribution], list[str]]:
    """Return the installed distributions that ``roots`` are and need to run, and those missing.

    Markers are evaluated for this interpreter with extras off.
    """
    found: dict[str, Distribution] = {}
    missing: set[str] = set()
    todo = list(roots)
    while todo:
        name = canonicalize_name(todo.pop())
        if name in found or name in missing:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            missing.add(name)
            continue
        requirements = map(Requirement, found[name].requires or ())
        todo += [r.name for r in requirements if not r.marker or r.marker.evaluate({"extra": ""})]
    return found, sorted(missing)


def package_files(found: dict[str, Distribution]) -> dict[str, list[Path]]:
    """Return the .py files of every package; a top-level module of the library is a package."""
    files = {
        name: [Path(str(dist.locate_file(f))) for f in dist.files or () if f.suffix == ".py"]
        for name, dist in found.items()
    }
    library = Path(sysconfig.get_path("stdlib"))
    for folder, folders, names in os.walk(library):
        folders[:] = sorted(set(folders) - _NOT_LIBRARY - _TESTS)
        for path in (Path(folder, name) for name in names if name.endswith(".py")):
            unit = path.relative_to(library).parts[0].removesuffix(".py")
            files.setdefault(f"stdlib:{unit}", []).append(path)
    return {name: [path for path in paths if path.is_file()] for name, paths in files.items()}


def _split_packages(found: dict[str, Distribution], missing: list[str]) -> Split:
    packages = package_files(found)
    sizes = {name: sum(p.stat().st_size for p in paths) for name, paths in packages.items()}
    chosen = held_out_units(sizes)
    note = (
        f"Python source of {len(packages)} packages, {sum(sizes.values()) / 1e6:,.0f} MB, split by "
        f"package: {len(chosen)} packages are validation"
    )
    absent = (f"not installed, so left out: {', '.join(missing)}",) if missing else ()
    return Split(
        _in_hash_order([p for name in packages.keys() - chosen for p in packages[name]]),
        _in_hash_order([p for name in chosen for p in packages[name]]),
        (note, *absent),
    )


def _in_hash_order(paths: list[Path]) -> Iterator[bytes]:
    hashed = sorted((hashlib.sha256(path.read_bytes()).digest(), path) for path in paths)
    for _, path in hashed:
        yield path.read_bytes()
