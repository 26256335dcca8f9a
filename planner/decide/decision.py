"""One recommended number of a plan: its estimate, the reason in a sentence, and its evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from planner.estimate import Estimate
from planner.finding import Finding


@dataclass(frozen=True, slots=True)
class Decision:
    """One recommended number, or a named choice.

    ``name`` is the field's standard name (params, tokens, batch_tokens, lr, warmup_tokens, schedule
    ...), ``unit`` what ``estimate`` counts. ``estimate.value`` is what to type into the trainer
    (rounded to something buildable); its interval says where the optimum lies. ``label`` is the
    text of what is no number ("wsd, 1-sqrt cooldown over the last 20 %"). ``evidence`` holds the
    keys of the runs the number rests on.
    """

    name: str
    estimate: Estimate
    unit: str
    reason: str
    evidence: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    label: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the decision as plain data."""
        return {
            "name": self.name,
            "estimate": self.estimate.to_json(),
            "unit": self.unit,
            "reason": self.reason,
            "evidence": list(self.evidence),
            "findings": [finding.to_json() for finding in self.findings],
            "label": self.label,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Decision:
        """Read a decision back from plain data."""
        return cls(
            data["name"],
            Estimate(**data["estimate"]),
            data["unit"],
            data["reason"],
            tuple(data["evidence"]),
            tuple(Finding.from_json(finding) for finding in data["findings"]),
            data["label"],
        )
