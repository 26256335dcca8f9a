"""The gpt proxy on shards: a trial killed from outside ends where it would have ended."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from planner.errors import SpaceError
from planner.proxies.gpt import GptProxy
from tests.proxies.gpt_trials import BATCH, CONTEXT, Context, trial

STEPS = 300

TRAIN = """
import math, sys
from pathlib import Path
from planner.proxies import _loop
from planner.proxies.gpt import GptProxy
from tests.proxies.gpt_trials import CONTEXT, Context, trial
_loop.SAVE_SECONDS, _loop.SAVE_SHARE = 0.0, math.inf
class Told(Context):
    def report(self, **values):
        super().report(**values)
        print(values["tokens"], flush=True)
proxy = GptProxy(eval(sys.argv[1]), context=CONTEXT, head_dim=8)
proxy.train(trial(300), Told(Path(sys.argv[2])))
"""


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    monkeypatch.setenv("PLANNER_CACHE", str(tmp_path / "cache"))
    for i in range(4):
        noise = np.random.default_rng(i).integers(0, 2, 5_000)
        (np.arange(5_000) % 7 + 7 * noise).astype(np.uint16).tofile(tmp_path / f"{i}.bin")
    shards = {"shards": str(tmp_path / "*.bin"), "vocab": 14, "evaluation_tokens": 1_024}
    return {**shards, "epochs": 2}


def test_a_trial_killed_from_outside_goes_on_bit_for_bit(data, tmp_path: Path) -> None:
    proxy = GptProxy(data, context=CONTEXT, head_dim=8)
    assert proxy.vocab == 14
    assert proxy.corpus.unique_tokens < STEPS * BATCH  # so it runs into its second epoch
    whole = Context(tmp_path / "whole")
    expected = proxy.train(trial(STEPS), whole)
    command = [sys.executable, "-c", TRAIN, repr(data), str(tmp_path / "killed")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        for _ in range(40):
            process.stdout.readline()
        process.kill()
    resumed = Context(tmp_path / "killed", patience=math.inf)
    assert proxy.train(trial(STEPS), resumed) == expected
    assert 30 * 3 * BATCH < resumed.resumed_at < STEPS * BATCH
    for name in ("tokens", "loss", "grad_norm"):
        assert resumed.column(name) == whole.column(name)


def test_waiting_for_data_is_told(data, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("planner.proxies._loop.WAIT_SECONDS", 0.0)
    monkeypatch.setattr("planner.proxies._loop.WAIT_SHARE", 1e-9)
    whole = Context(tmp_path / "a")
    outcome = GptProxy(data, context=CONTEXT, head_dim=8).train(trial(40), whole)
    assert "of its time for data" in outcome.note
    assert all(0 < share < 1 for share in whole.column("loader_wait"))


def test_the_recipe_names_the_data_and_sizes_need_no_data(data) -> None:
    recipe = GptProxy(data, context=CONTEXT, head_dim=8).recipe()
    assert str(recipe["train_hash"]).startswith("whole-")
    assert recipe["epochs"] == 2
    missing = {"shards": "nowhere/*.bin", "vocab": 14}
    assert GptProxy(missing, context=CONTEXT, head_dim=8).vocab == 14
    text = {"shards": "nowhere/*.parquet"}
    assert GptProxy(text, context=CONTEXT, head_dim=8).vocab == 256
    with pytest.raises(SpaceError, match="whole windows"):
        GptProxy(data, context=100).train(trial(10), Context("nowhere"))
