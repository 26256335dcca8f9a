"""A Ray Tune trainable as a proxy: driven without Tune, resumed, stopped, and told off in words."""

from __future__ import annotations

import pytest

from planner.errors import SpaceError, UsageError
from planner.proxies.tune import TuneProxy
from planner.proxy import StopTrial
from planner.run import Status, Trial
from tests.proxies.recorder import Recorder

TRAINER = """
from pathlib import Path
from ray import tune


class Trainer(tune.Trainable):
    def setup(self, config):
        self.config, self.done = config, 0

    def step(self):
        self.done += 100
        return {"tokens": self.done, "val": self.config["lr"] + self.config["extra"] / self.done}

    def save_checkpoint(self, folder):
        Path(folder, "done").write_text(str(self.done))

    def load_checkpoint(self, folder):
        self.done = int(Path(folder, "done").read_text())


def train(config):
    assert tune.get_checkpoint() is None
    for done in range(100, config["tokens"] + 1, 100):
        tune.report({"tokens": done, "val": config["lr"] + config["extra"] / done})


def short(config):
    tune.report({"tokens": 100, "val": 1.0})


def wordless(config):
    tune.report({"steps": 100, "loss": 1.0})
"""
TRIAL = Trial("ladder", {"params": 1000}, 1000, 100, 0.5, 100)
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own, on import


@pytest.fixture
def proxy(tmp_path):
    (tmp_path / "trainer.py").write_text(TRAINER)

    def make(name):
        trainable = f"{tmp_path}/trainer.py:{name}"
        return TuneProxy({}, trainable=trainable, metric="val", config={"extra": 100})

    return make


@pytest.mark.parametrize("name", ["Trainer", "train"])
def test_a_class_and_a_function_train_the_same(proxy, name, tmp_path):
    ctx = Recorder(tmp_path / name)
    outcome = proxy(name).train(TRIAL, ctx)
    assert (outcome.status, outcome.loss, outcome.tokens) == (Status.DONE, 0.6, 1000)
    assert [point["tokens"] for point in ctx.curve] == list(range(100, 1001, 100))


def test_a_class_goes_on_from_its_last_state(proxy, tmp_path):
    with pytest.raises(StopTrial):
        proxy("Trainer").train(TRIAL, Recorder(tmp_path / "c", stop_at=700))
    again = Recorder(tmp_path / "c")
    assert proxy("Trainer").train(TRIAL, again).loss == 0.6
    assert [point["tokens"] for point in again.curve] == [700, 800, 900, 1000]


def test_a_function_is_stopped_in_its_report(proxy, tmp_path):
    ctx = Recorder(tmp_path / "c", stop_at=300)
    with pytest.raises(StopTrial):
        proxy("train").train(TRIAL, ctx)
    assert len(ctx.curve) == 3


def test_what_is_missing_is_said(proxy, tmp_path):
    with pytest.raises(UsageError, match="ended at 100 of 1,000 tokens"):
        proxy("short").train(TRIAL, Recorder(tmp_path / "c"))
    with pytest.raises(UsageError, match="has no `tokens`; it has steps, loss"):
        proxy("wordless").train(TRIAL, Recorder(tmp_path / "c"))
    with pytest.raises(SpaceError, match=r"write package\.module:object"):
        TuneProxy({}, trainable="train")
