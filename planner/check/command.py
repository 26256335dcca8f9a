"""``planner check``: run the checks asked for, print them, write check.json.

``--proxy`` rehearses the proxy itself and leaves no file: there need not be a study yet.

The verdict is NO-GO with a blocking finding, WARN with a warning, else GO.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from planner._log import replace_file
from planner.check.conformance import conformance
from planner.check.coordinate import (
    CLAIMS,
    AxisSlopes,
    axis_shapes,
    coordinate_finding,
    measure_slopes,
    unchecked_finding,
)
from planner.check.stage import STEPS, Stage
from planner.check.transfer import transfer_finding
from planner.errors import UsageError
from planner.finding import Finding, Severity
from planner.ledger import Ledger
from planner.proxy import CoordinateProxy, Proxy, ProxySpec, load_proxy
from planner.run import UNIQUE
from planner.space import SearchSpace
from planner.words import retold, unit_of

SCHEMA_VERSION = 1
AXES = ("width", "depth")
ABLE = "coordinates"


def check_command(
    space: SearchSpace, folder: Path, *, coordinate: bool, transfer: bool, as_json: bool
) -> None:
    """Run the checks (all the proxy can when none is named); print them, write check.json."""
    spec = ProxySpec(space.proxy.name, space.data, space.proxy.options)
    proxy, every = load_proxy(spec), not (coordinate or transfer)
    for unique in space.horizons.unique:  # a proxy refuses more than its data hold
        proxy.size({**space.shapes[0], UNIQUE: unique})
    findings: list[Finding] = []
    slopes: list[AxisSlopes] = []
    if coordinate or (every and ABLE in proxy.capabilities):
        slopes, found = check_coordinates(space, proxy)
        findings += found
    if transfer or every:
        findings.append(check_transfer(space, proxy, folder))
    findings = [retold(finding, unit_of(proxy.recipe())) for finding in findings]
    data = _as_data(findings, slopes)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(data, indent=1, allow_nan=False) + "\n"
    replace_file(folder / "check.json", text.encode())
    print(json.dumps(data) if as_json else _text(data, findings, slopes))  # noqa: T201


def check_proxy(space: SearchSpace, *, as_json: bool) -> bool:
    """Rehearse the proxy at the smallest size of the space; print what is found.

    Returns whether nothing blocks its use.
    """
    spec = ProxySpec(space.proxy.name, space.data, space.proxy.options)
    lr, batch = math.sqrt(space.lr.low * space.lr.high), int(space.batch_tokens.low)
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(lambda: load_proxy(spec), space.shapes[0], lr, batch, Path(folder))
        said = f"rehearsing {space.proxy.name} in trials of {STEPS} steps at {dict(stage.shape)}"
        print(f"{said} (Ctrl-C ends them)", file=sys.stderr, flush=True)  # noqa: T201
        findings = conformance(stage)
    data = _as_data(findings, [])
    kept = f"the proxy {space.proxy.name} keeps its promises at {dict(space.shapes[0])}"
    text = _text(data, findings, []) if findings else f"GO\n  {kept}"
    print(json.dumps(data) if as_json else text)  # noqa: T201
    return bool(data["verdict"] != "NO-GO")


def check_coordinates(space: SearchSpace, proxy: Proxy) -> tuple[list[AxisSlopes], list[Finding]]:
    """Measure and judge the slopes along every axis the sizes vary, at the middle of the lr grid.

    Raises UsageError for a proxy that cannot measure its activations.
    """
    if ABLE not in proxy.capabilities:
        raise UsageError(
            f"the proxy {space.proxy.name} has no capability `{ABLE}`, so its activations "
            "cannot be checked: `--transfer` judges its runs instead"
        )
    chosen = _parametrization(proxy)
    able, lr = cast(CoordinateProxy, proxy), math.sqrt(space.lr.low * space.lr.high)
    batch = 2 ** round(math.log2(space.batch_tokens.low))
    slopes, findings = [], []
    for axis in AXES:
        if shapes := axis_shapes(space.shapes, axis):
            found = measure_slopes(able, shapes, axis, lr=lr, batch_tokens=batch)
            slopes.append(found)
            findings.append(coordinate_finding(found, chosen))
        elif axis in CLAIMS.get(chosen, ()):
            findings.append(unchecked_finding(axis))
    return slopes, findings


def check_transfer(space: SearchSpace, proxy: Proxy, folder: Path) -> Finding:
    """Judge the runs of the study in ``folder``, if there are any."""
    ledger = folder / "events.jsonl"
    runs = list(Ledger.read(folder).runs.values()) if ledger.is_file() else []
    sizes = [proxy.size(shape) for shape in space.shapes]
    tokens = min(space.horizons.tokens_per_run)
    return transfer_finding(runs, sizes, tokens, _parametrization(proxy))


def _parametrization(proxy: Proxy) -> str:
    return str(proxy.recipe().get("parametrization", "sp"))


def _as_data(findings: Sequence[Finding], slopes: Sequence[AxisSlopes]) -> dict[str, Any]:
    found = {finding.severity for finding in findings}
    worst = "WARN" if Severity.WARNING in found else "GO"
    return {
        "schema_version": SCHEMA_VERSION,
        "verdict": "NO-GO" if Severity.BLOCKING in found else worst,
        "coordinate": [axis.to_json() for axis in slopes],
        "findings": [finding.to_json() for finding in findings],
    }


def _text(data: dict[str, Any], findings: Sequence[Finding], slopes: Sequence[AxisSlopes]) -> str:
    lines = [str(data["verdict"])]
    for found in slopes:
        lines.append(f"  d ln RMS / d ln {found.axis}, {found.axis} {found.sizes}:")
        lines += [
            f"    {kind:8s} {slope.value:+.3f} [{slope.low:+.3f}, {slope.high:+.3f}]"
            for kind, slope in found.slopes.items()
        ]
    for finding in findings:
        remedy = f"\n    -> {finding.remedy}" if finding.remedy else ""
        lines.append(f"  {finding.severity.value}: {finding.what}{remedy}")
    return "\n".join(lines)
