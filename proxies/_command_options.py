"""The options of the command proxy besides the command itself, checked before anything is spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from planner.errors import SpaceError
from planner.proxies._lines import Lines
from planner.proxies._reports import Names
from planner.proxies._words import placeholders, words_of


@dataclass(frozen=True)
class Options:
    """What the YAML says of reports, resuming and surroundings; see the command proxy."""

    reports: str = ""
    names: Names = field(default_factory=lambda: Names({}))
    lines: Lines = field(default_factory=Lines)
    step_tokens: float | None = None
    resume_argv: tuple[str, ...] = ()
    resume_when: str = "*"
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = ""
    timeout_minutes: float | None = None

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Options:
        """Check the options that are given. Raises SpaceError, a sentence about the first wrong."""
        values: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
        for name in {"reports", "resume_when", "cwd"} & set(values):
            if not isinstance(values[name], str) or not values[name].strip():
                raise SpaceError(f"proxy command: `{name}` must be text, not {values[name]!r}")
        for name in {"step_tokens", "timeout_minutes"} & set(values):
            values[name] = _positive(name, values[name])
        if "resume_argv" in values:
            values["resume_argv"] = words_of("resume_argv", values["resume_argv"])
        if "env" in values:
            values["env"] = _environment(values["env"])
        if "map" in values:
            values["names"] = Names.of(values.pop("map"))
        if "lines" in values:
            values["lines"] = Lines.of(values["lines"])
            values["names"] = _with_final(values.get("names", Names({})), values["lines"])
        return cls(**values)

    @property
    def used(self) -> set[str]:
        """The placeholders that stand in these options."""
        return placeholders([self.reports, self.cwd, *self.env.values()])

    def recipe(self) -> dict[str, Any]:
        """Return what of it decides the result, where it is not as usual."""
        shown: dict[str, Any] = {
            "reports": self.reports,
            "map": dict(self.names.theirs),
            "lines": list(self.lines.given),
            "cwd": self.cwd,
        }
        shown |= {"env": dict(self.env), "step_tokens": self.step_tokens}
        return {name: value for name, value in shown.items() if value}

    def latest(self, out: Path) -> Path | None:
        """Return the newest thing in ``out`` that looks like a saved state."""
        if not self.resume_argv:
            return None
        found = ((path.stat().st_mtime_ns, path) for path in out.glob(self.resume_when))
        return max(found, default=(0, None))[1]


def _with_final(names: Names, lines: Lines) -> Names:
    """Let a final loss out of a plain line be one that must stand at the end, as ``map`` does."""
    if names.final or "final_loss" not in lines.names:
        return names
    return Names({**names.theirs, "final_loss": "final_loss"})


def _positive(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise SpaceError(f"proxy command: `{name}` must be a positive number, not {value!r}")
    return float(value)


def _environment(given: object) -> dict[str, str]:
    plain = (str, int, float)
    if not isinstance(given, Mapping) or not all(isinstance(v, plain) for v in given.values()):
        raise SpaceError(
            "proxy command: `env` must be a mapping of names to texts, such as "
            "{TOKENIZERS_PARALLELISM: 'false'}"
        )
    return {str(name): _spelled(value) for name, value in given.items()}


def _spelled(value: Sequence[str] | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
