"""What pydantic found wrong with a search space, as sentences for the person who wrote it.

A model whose keys are written otherwise than its fields are named lists them in ``spelled``.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from planner._yaml import Places


def sentence(problem: ErrorDetails, places: Places, root: type[BaseModel]) -> str:
    """Write one problem of the model ``root``: where, which key, what would be right."""
    loc = problem["loc"]
    place, name = places.of(loc), ".".join(map(str, loc))
    kind = problem["type"]
    if kind == "extra_forbidden":
        return f"{place}: unknown key `{loc[-1]}`{_inside(loc)}{_nearest(loc, root)}"
    if kind == "missing":
        return f"{place}: `{name}` is missing"
    if kind in ("model_type", "dict_type"):
        return f"{place}: `{name}` must be a mapping of keys, not {problem['input']!r}"
    if kind == "value_error":
        return f"{place}: `{name}` {problem['ctx']['error']}"
    what = problem["msg"].removeprefix("Input ")
    return f"{place}: `{name}` {what[:1].lower()}{what[1:]}; got {problem['input']!r}"


def _inside(loc: Sequence[str | int]) -> str:
    return f" in `{'.'.join(map(str, loc[:-1]))}`" if loc[:-1] else ""


def _nearest(loc: Sequence[str | int], root: type[BaseModel]) -> str:
    known = _known_keys(loc[:-1], root)
    if near := difflib.get_close_matches(str(loc[-1]), known, n=1):
        return f"; did you mean `{near[0]}`?"
    return f"; the keys it knows are {', '.join(known)}"


def _known_keys(path: Sequence[str | int], root: type[BaseModel]) -> tuple[str, ...]:
    """List the keys of the mapping at ``path``."""
    part = root
    for key in path:
        fields = {field.alias or name: field for name, field in part.model_fields.items()}
        annotation = fields[str(key)].annotation
        kinds = (annotation, *get_args(annotation))
        part = next(
            kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)
        )
    if spelled := getattr(part, "spelled", None):
        return tuple(spelled)
    return tuple(field.alias or name for name, field in part.model_fields.items())
