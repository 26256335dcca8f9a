"""Runs of an MLflow experiment, in a SQLite store unless told otherwise (its file store is old)."""

from __future__ import annotations

from pathlib import Path

from mlflow.tracking import MlflowClient

from planner.run import Run, Status, Trial
from planner.sweep.events import Progress
from planner.sweep.mirrors import facts_of

ENDS = {Status.DONE: "FINISHED", Status.FAILED: "FAILED"}


class MlflowMirror:
    """One experiment per study, one run per trial."""

    def __init__(self, study: str, uri: str) -> None:
        self._client = MlflowClient(tracking_uri=uri)
        found = self._client.get_experiment_by_name(study)
        known = self._client.create_experiment(study) if found is None else found.experiment_id
        self._experiment = str(known)
        self._runs: dict[str, str] = {}

    def progress(self, event: Progress, trial: Trial) -> None:
        """Log a point of the loss."""
        self._client.log_metric(
            self._run(event.key, trial), "train_loss", event.loss, step=event.tokens
        )

    def ended(self, run: Run) -> None:
        """Log the result and end the run."""
        here = self._run(run.key, run.trial)
        for name in ("loss", "flops", "spent_flops", "seconds"):
            self._client.log_metric(here, name, getattr(run, name), step=run.tokens)
        self._client.set_tag(here, "planner.status", run.status.value)
        self._client.set_terminated(here, ENDS.get(run.status, "KILLED"))
        del self._runs[run.key]

    def close(self) -> None:
        """End the runs of trials that have not ended."""
        for here in self._runs.values():
            self._client.set_terminated(here, "KILLED")

    def _run(self, key: str, trial: Trial) -> str:
        if key not in self._runs:
            tags = {"planner.key": key}
            made = self._client.create_run(self._experiment, run_name=key, tags=tags)
            self._runs[key] = str(made.info.run_id)
            for name, value in facts_of(trial).items():
                self._client.log_param(self._runs[key], name, value)
        return self._runs[key]


def open_mirror(study: str, place: str | None, folder: Path) -> MlflowMirror:
    """Open the store ``place`` (a tracking URI), by default mlflow.db in the study's folder."""
    return MlflowMirror(study, place or f"sqlite:///{folder}/mlflow.db")
