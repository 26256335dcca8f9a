"""Small exports in the trackers' own layouts, written by hand for the import tests."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from planner.importers._tfrecord import masked_crc

CONFIG_YAML = """\
wandb_version: 1

_wandb:
  desc: null
  value:
    cli_version: 0.17.0
    t:
      1: [1, 5]
lr:
  desc: null
  value: {lr}
n_params:
  value: {params}
model:
  value:
    d_model: 256
"""


def wandb_run(root: Path, name: str, *, params: int, summary: dict, lr: str = "3e-4") -> Path:
    """Write `<root>/offline-run-<time>-<name>/files`, as W&B leaves it."""
    files = root / f"offline-run-20250101_120000-{name}" / "files"
    files.mkdir(parents=True)
    text = CONFIG_YAML.replace("{lr}", lr).replace("{params}", str(params))
    (files / "config.yaml").write_text(text)
    (files / "wandb-summary.json").write_text(json.dumps(summary | {"_wandb": {"runtime": 60}}))
    (files / "wandb-metadata.json").write_text(
        json.dumps({"gpu": "NVIDIA H100", "git": {"commit": "abc123"}})
    )
    return files


def mlflow_run(
    root: Path, run: str, *, status: int = 3, params: dict, metrics: dict, stage: str = "active"
) -> Path:
    """Write `<root>/0/<run>`, a run of MLflow's file store; metrics map name to [(step, value)]."""
    experiment = root / "0"
    folder = experiment / run
    for sub in ("params", "metrics", "tags", "artifacts"):
        (folder / sub).mkdir(parents=True)
    (experiment / "meta.yaml").write_text("experiment_id: '0'\nlifecycle_stage: active\nname: x\n")
    (folder / "meta.yaml").write_text(
        f"artifact_uri: file:///mlruns/0/{run}/artifacts\nend_time: 1700000000000\n"
        f"entry_point_name: ''\nexperiment_id: '0'\nlifecycle_stage: {stage}\nrun_id: {run}\n"
        f"run_name: name-{run}\nsource_type: 4\nstart_time: 1690000000000\nstatus: {status}\n"
        "tags: []\nuser_id: someone\n"
    )
    for name, value in params.items():
        (folder / "params" / name).write_text(str(value))
    for name, logged in metrics.items():
        file = folder / "metrics" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"1690000000000 {v!r} {step}\n" for step, v in logged))
    (folder / "tags" / "mlflow.user").write_text("someone")
    return folder


def ray_trial(root: Path, trial: str, *, config: dict, results: list[dict], done: bool) -> Path:
    """Write one trial's folder of a Ray Tune experiment, with result.json."""
    folder = root / f"train_{trial}_1_lr={config.get('lr')}_2025-01-01_00-00-00"
    folder.mkdir(parents=True)
    (folder / "params.json").write_text(json.dumps(config))
    lines = [
        {"trial_id": trial, "training_iteration": i + 1, "done": done and i + 1 == len(results)}
        | result
        | {"config": config}
        for i, result in enumerate(results)
    ]
    (folder / "result.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def ray_state(root: Path, states: dict[str, str]) -> None:
    """Write the experiment's state file: [trial, runtime] pairs, each JSON in a string."""
    pairs = [
        [json.dumps({"trial_id": trial, "status": status}), json.dumps({"last_result": {}})]
        for trial, status in states.items()
    ]
    data = {"trial_data": pairs, "runner_data": {}, "stats": {}}
    (root / "experiment_state-2025-01-01_00-00-00.json").write_text(json.dumps(data))


def trainer_state(*, step: int, planned: int, tokens: int = 0) -> dict:
    """Return a Trainer's state with a training log every 100 steps and two evaluations."""
    history = [
        {
            "epoch": s / 1000,
            "grad_norm": 1.0,
            "learning_rate": 1e-4,
            "loss": 4 - s / 1000,
            "step": s,
        }
        for s in range(100, step + 1, 100)
    ]
    history += [
        {"epoch": s / 1000, "eval_loss": 4.1 - s / 1000, "eval_runtime": 2.0, "step": s}
        for s in (step // 2, step)
    ]
    return {
        "best_metric": None,
        "epoch": step / 1000,
        "global_step": step,
        "is_world_process_zero": True,
        "log_history": history,
        "max_steps": planned,
        "num_input_tokens_seen": tokens,
        "num_train_epochs": 1,
        "total_flos": 6.0 * 1e6 * tokens,
        "train_batch_size": 8,
    }


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def _field(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return _varint(number << 3) + _varint(content)
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def record(data: bytes) -> bytes:
    """Frame a record as TensorBoard does."""
    length = struct.pack("<Q", len(data))
    crcs = [struct.pack("<I", masked_crc(part)) for part in (length, data)]
    return length + crcs[0] + data + crcs[1]


def scalar_event(step: int, tag: str, value: float, *, tensor: bool = False) -> bytes:
    """Encode one scalar of one step, as a simple_value or as TensorFlow 2's tensor."""
    if tensor:
        held = _field(8, _field(1, 1) + _field(2, b"") + _field(4, struct.pack("<f", value)))
    else:
        held = _varint(2 << 3 | 5) + struct.pack("<f", value)
    time = _varint(1 << 3 | 1) + struct.pack("<d", 1.7e9)
    return record(time + _field(2, step) + _field(5, _field(1, _field(1, tag.encode()) + held)))


def hparams_event(values: dict[str, float]) -> bytes:
    """Encode the session start of the hparams plugin."""
    entries = b"".join(
        _field(1, _field(1, k.encode()) + _field(2, _varint(2 << 3 | 1) + struct.pack("<d", v)))
        for k, v in values.items()
    )
    plugin = _field(1, b"hparams") + _field(2, _field(3, entries))
    value = _field(1, b"_hparams_/session_start_info") + _field(9, _field(1, plugin))
    return record(_field(2, 0) + _field(5, _field(1, value)))


def event_file(folder: Path, events: list[bytes]) -> Path:
    """Write an event file with its usual first record."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "events.out.tfevents.1700000000.host.1.0"
    file.write_bytes(record(_field(3, b"brain.Event:2")) + b"".join(events))
    return file
