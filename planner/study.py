"""A study folder read whole, and what follows from it: fits, judgement, plan, report.

Reading needs neither the proxy nor its data: runs.jsonl carries the sizes and env.json the family
of shapes, so a folder can be planned and reported on a machine that could not train a token of it.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from planner._log import replace_file
from planner.decide.evidence import fit_hyper_of, fit_loss_of, judge_held_out
from planner.errors import LedgerError
from planner.finding import Finding, Severity
from planner.fit.held_out import Judgement, Prediction
from planner.fit.loss_fit import LossFit
from planner.fit.transfer import HyperFit
from planner.ledger import Ledger
from planner.run import Round, Run
from planner.shape import ModelShape, ShapeFamily
from planner.space import SearchSpace, load_space
from planner.witness import noise_findings


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
        return fit_hyper_of(self.runs_by_stage, self.env["recipe"].get("parametrization", "sp"))

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


def read_study(folder: Path) -> Study:
    """Read a study folder. Raises LedgerError when it is not one, or is damaged."""
    if not (folder / "events.jsonl").is_file():
        raise LedgerError(
            f"{folder} is not a study folder (no events.jsonl); `planner sweep` makes one"
        )
    env = json.loads((folder / "env.json").read_text())
    return Study(folder, load_space(folder / "space.yaml"), Ledger.read(folder), env)


def conclude(study: Study) -> Conclusion:
    """Fit everything. Raises EvidenceError when the ladder holds too little for a law."""
    runs = study.runs_by_stage
    ladder = {stage: ended for stage, ended in runs.items() if stage != "held_out"}
    hyper = study.hyper
    before = fit_loss_of(ladder, hyper)
    judgement = judge_held_out(study.prediction, runs, before.sigma)
    taken_in = runs if judgement is not None else ladder
    loss = fit_loss_of(taken_in, hyper, judgement)
    ended = tuple(study.ledger.runs.values())
    noise = noise_findings(study.folder / "curves", ended, hyper)
    return Conclusion(loss, hyper, judgement, (*_sweep_findings(study), *noise))


def facts_of(study: Study) -> dict[str, Any]:
    """Return what the proxies were trained with, to be held against the target."""
    recipe, data = study.env["recipe"], study.space.data
    shared = {
        name: recipe[name] for name in ("vocab", "context", "parametrization") if name in recipe
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
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "versions": {name: version(name) for name in packages},
        "git_sha": _revision(),
        "recipe": dict(recipe),
        "shapes": [asdict(shape) for shape in shapes],
    }


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
