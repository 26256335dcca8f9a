"""YAML to plain data, remembering where every key stood.

YAML 1.2, safe: no code, and no values but text, numbers, yes or no, lists and mappings of words;
``1e-3`` is a float and ``on`` a string. A *place* is what an error names: ``space.yaml, line 7`` or
``--set lr.factor=4``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, TypeAlias

from ruamel.yaml import YAML, MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, StreamMark

from planner.errors import SpaceError

Path_: TypeAlias = tuple[str | int, ...]
"""Keys and list indices from the top of the document."""

MOST_ENTRIES, DEEPEST = 10_000, 40
"""Of a search space: aliases can make a short text endless."""


class Places:
    """Where every key of a document was written."""

    def __init__(self, document: str) -> None:
        self._at: dict[Path_, str] = {(): document}

    def record(self, path: Path_, place: str) -> None:
        """Remember that ``path`` and all below it was written at ``place``."""
        self._at = {key: at for key, at in self._at.items() if key[: len(path)] != path}
        self._at[path] = place

    def of(self, path: Path_) -> str:
        """Return the place of ``path``, or of the nearest key above it that was written."""
        known = (path[:n] for n in range(len(path), -1, -1))
        return next(self._at[key] for key in known if key in self._at)


def read_yaml(path: Path) -> tuple[dict[str, Any], Places]:
    """Read a mapping and its places. Raises SpaceError with file and line."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SpaceError(f"the search space {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SpaceError(f"{path} is not text in UTF-8") from None
    try:
        data, lines = _load(text)
    except Exception as error:  # the reader of YAML raises what it likes
        raise SpaceError(_syntax(path, error)) from None
    if data is None:
        raise SpaceError(f"{path} is empty; `planner init` writes a starting point")
    if not isinstance(data, dict):
        raise SpaceError(f"{path}, line 1: a search space is a mapping of keys such as `lr:`")
    places = Places(str(path))
    for where, line in lines:
        places.record(where, f"{path}, line {line}")
    return data, places


def apply_overrides(data: dict[str, Any], places: Places, overrides: Sequence[str]) -> None:
    """Set ``dotted.path=value`` (the value is YAML) in ``data``, the command line's ``--set``."""
    for override in overrides:
        dotted, equals, text = override.partition("=")
        keys = tuple(dotted.strip().split("."))
        place = f"--set {override}"
        if not equals or not all(keys):
            raise SpaceError(f"{place}: write it as --set key.path=value, such as lr.factor=4")
        try:
            value, _ = _load(text)
        except Exception:
            raise SpaceError(f"{place}: the value {text!r} is not valid YAML") from None
        _set(data, keys, value, place)
        places.record(keys, place)


def write_yaml(data: object) -> str:
    """Write plain data as YAML in block style, which quotes odd keys where flow style does not."""
    stream = StringIO()
    writer = _yaml()
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    writer.width = 100
    writer.dump(data, stream)
    return stream.getvalue()


def _yaml() -> YAML:
    return YAML(typ="safe", pure=True)


def _load(text: str) -> tuple[Any, list[tuple[Path_, int]]]:
    """Return the data of a document, and the line of everything in it, parents before children."""
    root = _yaml().compose(text)
    lines: list[tuple[Path_, int]] = []
    for entry in _lines(root, ()) if root is not None else ():
        lines.append(entry)
        if len(lines) > MOST_ENTRIES or len(entry[0]) > DEEPEST:
            raise _at(entry[1], "nested too deep, or too long with its aliases written out")
    data = _yaml().load(text)
    _refuse_odd(data, dict(lines), ())
    return data, lines


def _refuse_odd(data: object, lines: Mapping[Path_, int], path: Path_) -> None:
    """Refuse values that JSON could not hold, such as dates, and keys that are no words."""
    if isinstance(data, dict):
        for key, value in data.items():
            if not isinstance(key, str):
                raise _at(lines.get(path, 1), f"the key {key!r} is no word; write it in quotes")
            _refuse_odd(value, lines, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            _refuse_odd(value, lines, (*path, index))
    elif not isinstance(data, str | int | float | None):
        what = f"{str(data)!r} is read as a {type(data).__name__}; write it in quotes"
        raise _at(lines.get(path, 1), what)


def _at(line: int, problem: str) -> MarkedYAMLError:
    return MarkedYAMLError(problem=problem, problem_mark=StreamMark("", 0, line - 1, 0))


def _set(data: dict[str, Any], keys: Sequence[str], value: object, place: str) -> None:
    inner = data
    for depth, key in enumerate(keys[:-1], start=1):
        inner = inner.setdefault(key, {})
        if not isinstance(inner, dict):
            raise SpaceError(f"{place}: `{'.'.join(keys[:depth])}` holds a value, not keys")
    inner[keys[-1]] = value


def _lines(node: Node, path: Path_) -> Iterator[tuple[Path_, int]]:
    """Yield every path below ``node`` with its line, parents before children."""
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                raise _at(key.start_mark.line + 1, "a key must be a word")
            yield (*path, key.value), key.start_mark.line + 1
            yield from _lines(value, (*path, key.value))
    elif isinstance(node, SequenceNode):
        for index, value in enumerate(node.value):
            yield (*path, index), value.start_mark.line + 1
            yield from _lines(value, (*path, index))


def _syntax(path: Path, error: Exception) -> str:
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        return f"{path} is not valid YAML: {str(error) or type(error).__name__}"
    place = f"{path}, line {error.problem_mark.line + 1}"
    if isinstance(error, DuplicateKeyError):
        return f"{place}: {error.problem}; a key may appear once"
    return f"{place}: not valid YAML: {error.problem}"
