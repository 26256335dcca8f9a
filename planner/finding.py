"""A doubt that travels with a result: what is doubtful, and what would remove it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """How much a finding weighs on the verdict."""

    INFO = "info"
    WARNING = "warning"
    BLOCKING = "blocking"


@dataclass(frozen=True, slots=True)
class Finding:
    """One doubt.

    ``code`` is a stable kebab-case name for filters and tests, ``what`` a full sentence with the
    figures, ``remedy`` what would remove the doubt, ``cost_flops`` what that costs (None: free, or
    not a matter of FLOPs).
    """

    code: str
    severity: Severity
    what: str
    remedy: str = ""
    cost_flops: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the finding as plain data."""
        return asdict(self) | {"severity": self.severity.value}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Finding:
        """Read a finding back from plain data."""
        return cls(**(data | {"severity": Severity(data["severity"])}))
