"""A study folder read whole, and what follows from it: fits, judgement, plan, report.

Reading needs neither the proxy nor its data: runs.jsonl carries the sizes and env.json the family
of shapes, so a folder can be planned and reported on a machine that could not train a token of it.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from planner._derived import noted_standings
from planner._log import replace_file
from planner.claims import claim_findings
from planner.curve import Curve
from planner.decide.evidence import fit_hyper_of, fit_loss_of, judge_held_out
from planner.decide.schedule import ScheduleEvidence
from planner.decide.standing import Standing
from planner.errors import EvidenceError, LedgerError, SpaceError, TableError
from planner.finding import Finding, Severity
from planner.fit.error_map import ErrorMap, fit_error_map
from planner.fit.held_out import Judgement, Prediction
from planner.fit.hyper_fit import HyperFit
from planner.fit.loss_fit import LossFit
from planner.ledger import Ledger
from planner.run import Round, Run, check_types, content_hash
from planner.schedules import UNTOLD, is_told, schedule_of
from planner.shape import ModelShape, ShapeFamily
from planner.space import SearchSpace, load_space
from planner.witness import critical_batch_findings, noise_findings


@dataclass(frozen=True)
class Study:
    """Everything a study folder says."""

    folder: Path
    space: SearchSpace
    ledger: Ledger
    env: Mapping[str, Any]

    @property
    def runs_by_stage(self) -> dict[str, tuple[Run, ...]]:
        """Every stage's ended runs, in the order the stages came."""
        runs = self.ledger.runs
        return {
            stage: tuple(runs[key] for key in self.ledger.stage_keys(stage))
            for stage in self.ledger.stages
        }

    @property
    def hyper(self) -> HyperFit:
        """What the runs say of learning rate, batch, warmup and weight decay."""
        return fit_hyper_of(self.runs_by_stage, self.env["recipe"])

    @property
    def parametrization(self) -> str:
        """The proxies' parametrisation: sp unless their recipe names another."""
        return str(self.env["recipe"].get("parametrization", "sp"))

    @property
    def prediction(self) -> Prediction | None:
        """What was written down before the held-out rung was trained."""
        data = self.ledger.prediction
        return None if data is None else Prediction.from_json(data)

    @property
    def family(self) -> ShapeFamily | None:
        """The ladder's family of transformer shapes; None for a black box."""
        shapes = [ModelShape(**shape) for shape in self.env.get("shapes", ())]
        return ShapeFamily.of(shapes) if shapes else None

    @property
    def standings(self) -> dict[int, Standing]:
        """What each round left in doubt at the target, where the sweep has noted it."""
        noted = noted_standings(self.folder)
        return {number: Standing.from_json(told) for number, told in noted.items()}

    def spent_on(self, entry: Round) -> float:
        """FLOPs of a round's recorded runs that it was the first to ask for."""
        asked = set(map(id, entry.trials))  # a run holds the very trial its round asked for
        runs = self.ledger.runs.values()
        return sum(run.spent_flops for run in runs if id(run.trial) in asked)


@dataclass(frozen=True)
class Conclusion:
    """The fits of a study, with the held-out rung judged and taken in."""

    loss: LossFit
    hyper: HyperFit
    judgement: Judgement | None
    findings: tuple[Finding, ...]
    schedule: ScheduleEvidence
    accuracy: ErrorMap | None


def read_study(folder: Path) -> Study:
    """Read a study folder. Raises LedgerError when it is not one, or is damaged."""
    if not (folder / "events.jsonl").is_file():
        raise LedgerError(
            f"{folder} is not a study folder (no events.jsonl); `planner sweep` makes one"
        )
    return Study(folder, load_space(folder / "space.yaml"), Ledger.read(folder), read_env(folder))


def read_env(folder: Path) -> dict[str, Any]:
    """Read a study's env.json. Raises LedgerError when it is gone or not what was written."""
    path = folder / "env.json"
    try:
        env: dict[str, Any] = json.loads(path.read_text())
        check_types(env, {"recipe": dict, "versions": dict, "git_sha": str, "shapes": list})
        for shape in env["shapes"]:
            ModelShape(**shape)
        if env.get("hash") not in (None, _hash_of(env)):
            raise ValueError("its content is not what was written")
        return {"recipe": env["recipe"], "versions": env["versions"]} | env
    except (OSError, ValueError, TypeError, LookupError, AttributeError, SpaceError) as error:
        raise LedgerError(
            f"{path} cannot be read ({error!r}): put it back from a copy, or run the sweep again "
            "after removing it, which writes it anew"
        ) from None


def conclude(study: Study) -> Conclusion:
    """Fit everything. Raises EvidenceError when the ladder holds too little for a law."""
    runs = study.runs_by_stage
    ladder = {stage: ended for stage, ended in runs.items() if stage != "held_out"}
    hyper = study.hyper
    before = fit_loss_of(ladder, hyper)
    judgement = judge_held_out(study.prediction, runs, before.sigma)
    taken_in = runs if judgement is not None else ladder
    loss = fit_loss_of(taken_in, hyper, judgement)
    ended, (curves, unread) = tuple(study.ledger.runs.values()), _curves(study.folder / "curves")
    witnesses = (
        *noise_findings(study.folder / "curves", ended, hyper),
        *critical_batch_findings(curves, runs.get("lr_batch", ()), hyper),
    )
    shortest = min(study.space.horizons.tokens_per_run)
    claims = claim_findings(study.folder, ended, shortest, study.parametrization)
    schedule = UNTOLD
    if is_told(study.env["recipe"]):
        schedule = schedule_of(study.folder, study.ledger.hash(), ended, curves)
    findings = (*_sweep_findings(study), *unread, *claims, *witnesses)
    return Conclusion(loss, hyper, judgement, findings, schedule, accuracy_map(ended))


def accuracy_map(runs: Sequence[Run]) -> ErrorMap | None:
    """Map cross-entropy to error rate by the decayed runs that told an accuracy, if they can."""
    told = [
        r for r in runs if r.done and r.trial.schedule.name == "wsd" and "accuracy" in r.metrics
    ]
    try:
        losses = np.array([run.loss for run in told])
        return fit_error_map(losses, 1.0 - np.array([run.metrics["accuracy"] for run in told]))
    except EvidenceError:
        return None


def facts_of(study: Study) -> dict[str, Any]:
    """Return what the proxies were trained with, to be held against the target."""
    recipe, data = study.env["recipe"], study.space.data
    shared = {
        name: recipe[name]
        for name in ("vocab", "context", "parametrization", "least_batch")
        if name in recipe
    }
    if study.family is None:
        return shared
    source = data.get("source") or data.get("files") or data.get("tokens") or "python-source"
    return shared | {"tokenizer": data.get("tokenizer", "bytes"), "data": str(source)}


def provenance_of(study: Study) -> dict[str, Any]:
    """Return what identifies the evidence; the same for every resume and executor."""
    return {
        "study": study.space.study,
        "seed": study.space.seed,
        "ledger_hash": study.ledger.hash(),
        "recipe": study.env["recipe"],
        "versions": study.env["versions"],
        "git_sha": study.env["git_sha"],
    }


def describe_environment(recipe: Mapping[str, Any], shapes: list[ModelShape]) -> dict[str, Any]:
    """Collect what made the numbers: versions, revision, recipe, shapes. No host, no secrets."""
    packages = ("scaling-planner", "torch", "numpy", "scipy")
    env = {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "versions": {name: version(name) for name in packages},
        "git_sha": _revision(),
        "recipe": dict(recipe),
        "shapes": [asdict(shape) for shape in shapes],
    }
    return env | {"hash": _hash_of(env)}


def _hash_of(env: Mapping[str, Any]) -> str:
    """Hash what a plan is made from: a flipped digit in a shape is nothing JSON would notice."""
    return content_hash([env["recipe"], env["shapes"]])


def _curves(folder: Path) -> tuple[tuple[Curve, ...], tuple[Finding, ...]]:
    """Read a study's curves; none where the folder came without them, or one is damaged."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return (), ()
    from planner.curves import read_curves

    try:
        return read_curves(folder), ()
    except TableError as error:
        what = f"The training curves were not used: {error}."
        return (), (Finding("curves-unread", Severity.INFO, what),)


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write JSON by rename, so that a reader never sees half a file."""
    replace_file(path, (json.dumps(data, indent=1, allow_nan=False) + "\n").encode())


def _revision() -> str:
    """Return the checkout's revision, or nothing outside one."""
    asked = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip()


def _sweep_findings(study: Study) -> list[Finding]:
    """Doubts that come from how the sweep went rather than from a fit."""
    found = []
    failed = [run for run in study.ledger.runs.values() if run.status.value == "failed"]
    if failed:
        found.append(
            Finding(
                "failed-trials",
                Severity.WARNING,
                f"{len(failed)} of {len(study.ledger.runs)} trials failed; "
                f"the first says: {failed[0].note.strip().splitlines()[-1][:200]}",
                "mend the cause and run the sweep into a new folder",
            )
        )
    if study.ledger.repaired:
        found.append(Finding("log-repaired", Severity.INFO, study.ledger.repaired))
    return found
