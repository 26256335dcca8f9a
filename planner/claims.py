"""What is known of a parametrisation's claim that lr* does not move with size, for the plan.

Under mup and completep the plan carries lr over sizes by the claim. The study's own runs are held
against it (:mod:`planner.check.transfer`), and what ``planner check`` measured of the activations
in this folder (check.json) comes along. Under sp nothing is claimed and nothing is said.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from planner.check.transfer import transfer_finding
from planner.finding import Finding
from planner.fit.parametrization import COVERS
from planner.run import Run

COORDINATES = "coordinate-check"


def claim_findings(
    folder: Path, runs: Sequence[Run], tokens: float, parametrization: str
) -> list[Finding]:
    """Return the findings on a study's parametrisation; ``tokens`` is its shortest horizon."""
    if parametrization not in COVERS:
        return []
    sizes = list({run.size.params_matmul: run.size for run in runs}.values())
    return [
        *_measured(folder / "check.json"),
        transfer_finding(runs, sizes, tokens, parametrization),
    ]


def _measured(file: Path) -> list[Finding]:
    """Read what the coordinate check found; nothing where it was not run."""
    if not file.is_file():
        return []
    told = [Finding.from_json(one) for one in json.loads(file.read_text())["findings"]]
    return [finding for finding in told if finding.code.startswith(COORDINATES)]
