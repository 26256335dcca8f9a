"""A journal for optuna-dashboard: every ended trial of the sweep as a trial of one Optuna study.

Only a finished trial has a value. One that diverged or was pruned is PRUNED, with the losses on its
way there as intermediate values; a failed one is FAIL.
"""

from __future__ import annotations

import math
from pathlib import Path

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial

from planner.run import Run, Status, Trial
from planner.sweep.events import Progress
from planner.sweep.mirrors import facts_of

STATES = {
    Status.DONE: TrialState.COMPLETE,
    Status.DIVERGED: TrialState.PRUNED,
    Status.PRUNED: TrialState.PRUNED,
    Status.FAILED: TrialState.FAIL,
}

SPACE: dict[str, BaseDistribution] = {
    "lr": FloatDistribution(1e-12, 1e6, log=True),
    "batch_tokens": IntDistribution(1, 2**40, log=True),
    "tokens": IntDistribution(1, 2**60, log=True),
    "seed": IntDistribution(0, 2**60),
}
"""What the dashboard draws against the loss: bounds no trial comes near."""


class OptunaMirror:
    """Adds trials to one study of a journal file."""

    def __init__(self, study: str, path: Path) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        path.parent.mkdir(parents=True, exist_ok=True)
        storage = JournalStorage(JournalFileBackend(str(path)))
        self._study = optuna.create_study(
            storage=storage, study_name=study, direction="minimize", load_if_exists=True
        )
        self._known = {trial.user_attrs.get("key") for trial in self._study.trials}
        self._points: dict[str, dict[int, float]] = {}

    def progress(self, event: Progress, trial: Trial) -> None:
        """Keep a point for the trial's end."""
        if math.isfinite(event.loss):
            self._points.setdefault(event.key, {})[event.tokens] = event.loss

    def ended(self, run: Run) -> None:
        """Add the trial."""
        points = self._points.pop(run.key, {})
        if run.key in self._known:
            return
        state = STATES[run.status]
        if state is TrialState.COMPLETE and not math.isfinite(run.loss):
            state = TrialState.PRUNED  # a range test has no loss
        facts = facts_of(run.trial)
        params = {name: facts.pop(name) for name in SPACE} | {"stage": facts.pop("stage")}
        stages = CategoricalDistribution([params["stage"]])
        self._study.add_trial(
            create_trial(
                state=state,
                value=run.loss if state is TrialState.COMPLETE else None,
                params=params,
                distributions=SPACE | {"stage": stages},
                user_attrs={"key": run.key, "status": run.status.value, "flops": run.flops} | facts,
                intermediate_values=points,
            )
        )

    def close(self) -> None:
        """Do nothing: the journal is written line by line."""


def open_mirror(study: str, place: str | None, folder: Path) -> OptunaMirror:
    """Open the journal ``place``, by default optuna.journal in the study's folder."""
    return OptunaMirror(study, Path(place) if place else folder / "optuna.journal")
