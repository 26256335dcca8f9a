"""The command proxy against a real trainer in a second process."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from planner.errors import SpaceError
from planner.proxies.command import CommandProxy
from planner.proxy import StopTrial
from planner.run import Status, Trial
from tests.proxies.killed_worker import alive, killed_worker, wait_for

TRAINER = """
import argparse, json, math, os, signal, sys, time
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--tokens", type=int)
parser.add_argument("--out")
parser.add_argument("--mode", default="good")
args = parser.parse_args()
print("loading the data ...")
print("[1, 2]")
for i in range(1, 5):
    loss = 2 + math.log(args.lr / 0.01) ** 2 + 1 / i
    print(json.dumps({"tokens": args.tokens * i // 4, "loss": loss, "grad_norm": 0.5}), flush=True)
if args.mode == "exit":
    sys.exit("out of memory")
if args.mode == "signal":
    os.kill(os.getpid(), signal.SIGTERM)
if args.mode == "nan":
    print(json.dumps({"tokens": args.tokens, "loss": math.nan}), flush=True)
    time.sleep(60)
if args.mode == "null":
    print(json.dumps({"final_loss": None}), flush=True)
if args.mode == "words":
    print(json.dumps({"tokens": 4, "loss": "low"}), flush=True)
if args.mode == "sleep":
    open(os.path.join(args.out, "pid"), "w").write(str(os.getpid()))
    time.sleep(60)
if args.mode == "good":
    print(json.dumps({"final_loss": 9.0}))
    print(json.dumps({"final_loss": loss, "loss_se": 0.01, "params": 2e4, "name": "me"}))
"""

TRIAL = Trial("x", {"params": 2e4}, 4000, 100, 0.01, 200)


@pytest.fixture
def proxy(tmp_path: Path) -> Callable[..., CommandProxy]:
    script = tmp_path / "my trainer.py"
    script.write_text(TRAINER)
    template = ["--lr", "{lr}", "--tokens={tokens}", "--out", "{checkpoint_dir}"]

    def make(mode: str = "good", **options: Any) -> CommandProxy:
        argv = [sys.executable, str(script), *template, "--mode", mode]
        return CommandProxy({}, **({"argv": argv} | options))

    return make


def test_reports_become_the_curve_and_the_last_word_the_loss(proxy, ctx):
    outcome = proxy().train(TRIAL, ctx)
    assert (outcome.status, outcome.loss, outcome.loss_se) == (Status.DONE, 2.25, 0.01)
    assert [point["tokens"] for point in ctx.curve] == [1000, 2000, 3000, 4000]
    assert ctx.curve[0]["grad_norm"] == 0.5
    assert outcome.metrics == {"params": 2e4}
    assert outcome.note == ""


def test_a_parameter_count_that_contradicts_the_yaml_is_noted(proxy, ctx):
    outcome = proxy().train(Trial("x", {"params": 4e4}, 4000, 100, 0.01, 200), ctx)
    assert "counts 20000 parameters, the YAML states 40000" in outcome.note


@pytest.mark.parametrize(
    ("mode", "status", "note"),
    [
        ("exit", Status.FAILED, "exit code 1; stderr ends: out of memory"),
        ("signal", Status.FAILED, "killed by signal 15"),
        ("nan", Status.DIVERGED, "not finite after 4000 tokens"),
        ("null", Status.DIVERGED, "not finite"),
        ("words", Status.FAILED, "a `loss` that is no number"),
        ("silent", Status.FAILED, "a line with `final_loss`; let it print {"),
    ],
)
def test_every_bad_end_says_what_happened(proxy, ctx, mode, status, note):
    outcome = proxy(mode).train(TRIAL, ctx)
    assert outcome.status is status
    assert note in outcome.note


def test_of_several_nodes_only_the_first_must_tell_the_result(proxy, ctx, monkeypatch):
    silent = proxy(mode="silent")
    assert silent.train(TRIAL, ctx).status is Status.FAILED
    monkeypatch.setenv("PLANNER_NODE_RANK", "1")
    assert silent.train(TRIAL, ctx).status is Status.DONE
    assert proxy(mode="exit").train(TRIAL, ctx).status is Status.FAILED


def test_a_missing_program_is_named(ctx):
    outcome = CommandProxy({}, argv="no-such-trainer --lr {lr}").train(TRIAL, ctx)
    assert outcome.status is Status.FAILED
    assert "no program `no-such-trainer`" in outcome.note


def test_no_shell_sees_the_values(tmp_path, ctx):
    echo = f"{sys.executable} -c 'import sys; print(sys.argv[1:])' {{note}} a'b c'"
    shape = {"params": 10, "note": f"; touch {tmp_path / 'harm'} $(ls)"}
    outcome = CommandProxy({}, argv=echo).train(Trial("x", shape, 100, 10, 0.1, 0), ctx)
    assert shape["note"] in outcome.note
    assert "ab c" in outcome.note
    assert not (tmp_path / "harm").exists()


def test_every_documented_placeholder_is_filled(ctx):
    words = "lr tokens batch_tokens warmup_tokens steps seed width depth weight_decay beta2"
    words += " schedule decay_ratio checkpoint_dir context"
    code = (
        "import sys, json; print(json.dumps({'final_loss': 1.0})); print(sys.argv, file=sys.stderr)"
    )
    argv = [sys.executable, "-c", code, *(f"{word}={{{word}}}" for word in words.split())]
    proxy = CommandProxy({}, argv=argv, context=128)
    shape = {"params": 10, "width": 16, "depth": 2}
    assert proxy.size(shape).params_matmul == 10
    assert proxy.train(Trial("x", shape, 100, 10, 1e-5, 0), ctx).loss == 1.0
    said = (ctx.checkpoint_dir / "stderr.log").read_text()
    for filled in ("'lr=1e-05'", "'steps=10'", "'schedule=wsd'", "'width=16'", "'context=128'"):
        assert filled in said


def test_an_unknown_placeholder_is_refused_before_anything_is_spent():
    proxy = CommandProxy({}, argv=["train", "--lr", "{learning_rate}", '{"json": true}'])
    with pytest.raises(SpaceError, match=r"nothing fills `\{learning_rate\}`.*\{lr\}.*\{params\}"):
        proxy.size({"params": 10})
    with pytest.raises(SpaceError, match="states no `params`"):
        CommandProxy({}, argv="train {lr} {tokens}").size({"width": 10})
    with pytest.raises(SpaceError, match="`argv` must be a command"):
        CommandProxy({}, argv=[])


def test_the_version_the_user_states_makes_new_trials(proxy):
    assert TRIAL.key(proxy().recipe()) == TRIAL.key(proxy().recipe())
    assert TRIAL.key(proxy().recipe()) != TRIAL.key(proxy(version="fixed the loader").recipe())


def test_a_stopped_trial_leaves_no_process(proxy, ctx):
    ctx.stop_at = 4000
    started = time.monotonic()
    with pytest.raises(StopTrial):
        proxy("nan").train(TRIAL, ctx)
    assert time.monotonic() - started < 20


def test_a_killed_worker_takes_its_trainer_along(proxy, tmp_path):
    pid = killed_worker(proxy("sleep").template.argv, tmp_path)
    wait_for(lambda: not alive(pid))
