"""Copies for dashboards: written by the real libraries, and never in the way of the sweep."""

from __future__ import annotations

import math
import threading
import time

import pytest

from planner.importers.tensorboard import tensorboard_rows
from planner.run import Run, Status, Trial
from planner.shape import size_from_mapping
from planner.sweep import mirrors
from planner.sweep.events import Progress
from planner.sweep.mirrors import mirrored
from tests.studies import Silence

SIZE = size_from_mapping({"params": 1000})


def trial(seed):
    return Trial("ladder", {"params": 1000}, 4096, 128, 0.01, 256, seed=seed)


def run(seed, status=Status.DONE, loss=2.5):
    return Run(trial(seed), f"key{seed}", status, loss, 0.01, SIZE, 4096, 1e9, 3.0, note="why")


def sweep_into(folder, name, place=None):
    """Play a sweep of a finished, a diverged and a failed trial to one mirror."""
    with mirrored(Silence(), {name: place}, "study", folder) as watch:
        for seed in range(3):
            for tokens in (1024, 2048):
                point = Progress(f"key{seed}", 1, tokens, 4.0 - tokens / 1024 / 2)
                watch.progress(point, trial(seed))
        watch.ended(run(0), 1e9)
        watch.ended(run(1, Status.DIVERGED, math.nan), 2e9)
        watch.ended(run(2, Status.FAILED, math.nan), 3e9)


@pytest.fixture(autouse=True)
def _no_warning(request, capsys):
    yield
    if "off" not in request.node.name:
        assert " is off" not in capsys.readouterr().err


def test_tensorboard_reads_the_curves(tmp_path):
    sweep_into(tmp_path, "tensorboard")
    rows = tensorboard_rows(tmp_path / "tensorboard" / "ladder-key0", "key0")
    assert [row.get("train/loss") for row in rows] == [3.5, 3.0, None]
    assert rows[-1]["trial/loss"] == 2.5


def test_optuna_reads_the_journal_and_a_resumed_sweep_adds_no_trial_twice(tmp_path):
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    for _ in range(2):
        sweep_into(tmp_path, "optuna")
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "optuna.journal")))
    study = optuna.load_study(study_name="study", storage=storage)
    assert [t.state.name for t in study.trials] == ["COMPLETE", "PRUNED", "FAIL"]
    assert study.best_value == 2.5
    assert study.best_params["lr"] == 0.01
    assert study.trials[1].intermediate_values == {1024: 3.5, 2048: 3.0}


@pytest.mark.filterwarnings("ignore")  # MLflow's own, of SQLAlchemy and pydantic
def test_mlflow_reads_its_sqlite_store(tmp_path):
    tracking = pytest.importorskip("mlflow.tracking", reason="the extra [mlflow] is not installed")
    sweep_into(tmp_path, "mlflow")
    client = tracking.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("study")
    found = {r.info.run_name: r for r in client.search_runs([experiment.experiment_id])}
    assert found["key0"].data.metrics["loss"] == 2.5
    assert found["key0"].data.params["lr"] == "0.01"
    assert [found[f"key{k}"].info.status for k in range(3)] == ["FINISHED", "KILLED", "FAILED"]
    history = client.get_metric_history(found["key1"].info.run_id, "train_loss")
    assert [(point.step, point.value) for point in history] == [(1024, 3.5), (2048, 3.0)]


def test_wandb_writes_offline(tmp_path):
    pytest.importorskip("wandb", reason="the extra [wandb] is not installed")
    sweep_into(tmp_path, "wandb", "offline")
    runs = list((tmp_path / "wandb").glob("offline-run-*-key*/*.wandb"))
    assert len(runs) == 3
    assert all(path.stat().st_size for path in runs)


class Broken:
    def progress(self, event, trial):
        raise OSError("the server\nsays no: https://me:pass-word@host")

    def ended(self, run):
        raise AssertionError("told after it broke")

    close = ended


def test_a_broken_mirror_is_off_after_one_sentence(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(mirrors.importlib, "import_module", lambda _: mirrors)
    monkeypatch.setattr(mirrors, "open_mirror", lambda *_: Broken(), raising=False)
    sweep_into(tmp_path, "mlflow")
    said = "OSError: the server says no: https://me:<hidden>@host"
    assert capsys.readouterr().err == f"the mirror mlflow is off: {said}\n"


def test_a_mirror_that_is_off_for_its_library_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    monkeypatch.delitem(__import__("sys").modules, "planner.sweep.mirrors.wandb", raising=False)
    sweep_into(tmp_path, "wandb")
    assert "pip install 'scaling-planner[wandb]'" in capsys.readouterr().err


def test_a_hanging_mirror_is_off_and_holds_nothing_up(tmp_path, capsys, monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(mirrors, "CLOSING_SECONDS", 0.05)
    monkeypatch.setattr(mirrors.importlib, "import_module", lambda _: mirrors)
    monkeypatch.setattr(mirrors, "open_mirror", lambda *_: gate.wait(20), raising=False)
    began = time.monotonic()
    sweep_into(tmp_path, "mlflow")
    gate.set()
    assert time.monotonic() - began < 10
    assert "is off: it has not finished" in capsys.readouterr().err
