"""Trainers that speak other words, or none: what is read of them, and what failures say."""

from __future__ import annotations

import math
import socket
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from planner.errors import SpaceError
from planner.proxies._ending import told_in
from planner.proxies._lines import Lines
from planner.proxies.command import CommandProxy
from planner.run import Status, Trial

TRIAL = Trial("x", {"params": 2e4}, 4000, 100, 0.01, 200)


@pytest.fixture
def trainer(tmp_path: Path) -> Callable[..., CommandProxy]:
    """Return what makes a proxy of a trainer in a few lines of Python."""

    def make(body: str, *words: str, **options: Any) -> CommandProxy:
        script = tmp_path / "train.py"
        script.write_text(f"import json, os, sys\n{textwrap.dedent(body)}")
        argv = [sys.executable, str(script), *words, "{lr}", "{steps}"]
        return CommandProxy({}, argv=argv, **options)

    return make


NANOGPT = """
print("tokens per iteration will be: 100")
for step in range(0, 41, 10):
    print(f"step {step}: train loss {5 - step / 10:.4f}, val loss {5.25 - step / 10:.4f}")
    print(f"iter {step}: loss {5 - step / 10:.4f}, time 12.13ms, mfu 7.1%", flush=True)
"""
NANOGPT_LINES = ["step {step}: train loss {_}, val loss {final_loss}", "iter {step}: loss {loss},"]


def test_plain_lines_are_reports_where_the_yaml_describes_them(trainer, ctx):
    outcome = trainer(NANOGPT, lines=NANOGPT_LINES).train(TRIAL, ctx)
    assert (outcome.status, outcome.loss, outcome.note) == (Status.DONE, 1.25, "")
    assert [(p["tokens"], p["loss"]) for p in ctx.curve] == [
        *((1000, 4.0), (2000, 3.0), (3000, 2.0), (4000, 1.0))
    ]


def test_a_validation_loss_of_a_plain_line_must_stand_at_the_end(trainer, ctx):
    body = NANOGPT.replace('{5.25 - step / 10:.4f}")', '{5.25:.4f}" if step < 15 else "")')
    outcome = trainer(body, lines=NANOGPT_LINES).train(TRIAL, ctx)
    assert outcome.status is Status.FAILED
    assert "its last validation loss is from 1,000 of 4,000 tokens" in outcome.note


@pytest.mark.parametrize(
    ("pattern", "line", "numbers"),
    [
        ("loss {loss}", "INFO: Loss  1.5e-3.", {"loss": "1.5e-3"}),
        ("step {step} loss {loss}", "step 12,800 loss nan", {"step": "12800", "loss": "nan"}),
        ("(val) [{v}]", "12:03 (val) [-.5] done", {"v": "-.5"}),
        ("'eval_loss': '{final_loss}'", "{'eval_loss': '2.34', 'e': 1}", {"final_loss": "2.34"}),
        ("loss {loss}", "loss: 1.5", {}),
        ("loss {loss}", "no loss yet", {}),
    ],
)
def test_a_description_takes_the_numbers_in_its_braces(pattern, line, numbers):
    assert Lines.of(pattern).read(line.encode()) == numbers


def test_what_describes_no_line_is_refused():
    for bad in ("val loss", ["loss {loss} {loss}"], ["{_}"], 7, [7], {"a": "b"}):
        with pytest.raises(SpaceError, match="lines"):
            CommandProxy({}, argv="train {lr} {steps}", lines=bad)
    with pytest.raises(SpaceError, match="takes a training loss for the final loss"):
        CommandProxy({}, argv="train {lr} {steps}", lines="train_loss: {final_loss}")


def test_lines_are_part_of_the_recipe_only_where_given():
    plain = CommandProxy({}, argv="train {lr} {steps}").recipe()
    assert "lines" not in plain
    told = CommandProxy({}, argv="train {lr} {steps}", lines="val {final_loss}").recipe()
    assert told["lines"] == ["val {final_loss}"]


def test_a_nan_in_a_plain_line_is_a_divergence(trainer, ctx):
    body = 'print("iter 10: loss 2.0,"); print("iter 20: loss nan,"); print("val loss 3.0")'
    outcome = trainer(body, lines=["iter {step}: loss {loss}", "val loss {final_loss}"])
    assert outcome.train(TRIAL, ctx).status is Status.DIVERGED


@pytest.mark.parametrize(
    ("body", "advice"),
    [
        (
            'print(json.dumps({"iter": 40, "train_loss": 1.5, "val": {"loss": 1.25}, "lr": 0.1}))',
            "write `map: {iter: step, train_loss: loss, val.loss: final_loss}`",
        ),
        ('print("step 40: val loss 1.25")', 'write `lines: ["val loss {final_loss}"]`'),
        ("print({'eval_loss': 1.25})", 'write `lines: ["eval_loss\': {final_loss}"]`'),
        ('print(json.dumps({"score": 1.25}))', "it names `score`: say with `map` which is"),
        (
            "print('INFO ' + json.dumps({'final_loss': 1.25}))",
            """write `lines: ['final_loss": {final_loss}']`""",
        ),
        ("", 'it printed nothing: let it print {"final_loss": 3.2} on a line of its own, or name'),
        ('print("done")', "or say how its lines read with `lines`"),
    ],
)
def test_who_tells_no_final_loss_is_told_what_to_write(trainer, ctx, body, advice):
    outcome = trainer(f"{body}\nprint('a warning\\nof two lines', file=sys.stderr)")
    note = outcome.train(TRIAL, ctx).note
    assert note.startswith("the trainer never wrote a line with `final_loss`; ")
    assert advice in note.splitlines()[-1][:300]


def test_the_advice_can_be_taken_as_it_stands(trainer, ctx):
    body = 'print(json.dumps({"iter": 40, "train_loss": 1.5, "val": {"loss": 1.25}}))'
    theirs = {"iter": "step", "train_loss": "loss", "val.loss": "final_loss"}
    assert trainer(body, map=theirs).train(TRIAL, ctx).loss == 1.25
    plain = trainer('print("step 40: val loss 1.25")', lines=["val loss {final_loss}"])
    assert plain.train(TRIAL, ctx).loss == 1.25


TORCHRUN = (
    """
[rank0]: Traceback (most recent call last):
[rank0]:   File "train.py", line 8, in <module>
[rank0]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB.
Traceback (most recent call last):
  File "torchrun", line 8, in <module>
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
train.py FAILED
"""
    + 30 * "  exitcode  : 1 (pid: 1)\n"
)


def test_the_last_line_of_a_crash_is_its_cause(trainer, ctx):
    body = f"sys.stderr.write({TORCHRUN!r} + '=' * 60); sys.exit(1)"
    note = trainer(body).train(TRIAL, ctx).note
    assert "ended with exit code 1; stderr ends:" in note
    assert note.splitlines()[-1].startswith("torch.OutOfMemoryError: CUDA out of memory")


def test_a_plain_crash_is_told_once(tmp_path):
    log = tmp_path / "stderr.log"
    log.write_text("Traceback (most recent call last):\nValueError: no such width\n")
    assert told_in(log, crashed=True).count("no such width") == 1
    log.write_text("")
    assert told_in(log, crashed=True) == ""


def test_a_port_of_its_own_for_every_trial(trainer, ctx, monkeypatch):
    listen = """
    import socket
    with socket.socket() as one:
        one.bind(("127.0.0.1", int(sys.argv[1])))
        print(json.dumps({"final_loss": int(sys.argv[1])}))
    """
    first, second = (trainer(listen, "{port}").train(TRIAL, ctx).loss for _ in range(2))
    assert math.isfinite(first + second)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MASTER_PORT", str(taken.getsockname()[1]))  # what the nodes agreed on
        taken.listen()
        note = trainer(listen, "{port}").train(TRIAL, ctx).note
        assert note.endswith("Address already in use; write {port} where its port stands")
