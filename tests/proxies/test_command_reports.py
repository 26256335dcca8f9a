"""Where the command proxy hears its trainer: other names, CSV files, TensorBoard, floods."""

from __future__ import annotations

import json
import math
import re
import sys
import textwrap
from pathlib import Path

import pytest

from planner.errors import SpaceError
from planner.proxies.command import CommandProxy
from planner.proxy import StopTrial
from planner.run import Status, Trial
from tests.exports import scalar_event

TRIAL = Trial("x", {"params": 2e4}, 4000, 100, 0.01, 200)


def trainer(body, **options):
    """Return a proxy of a trainer in a few lines of Python; ``out`` is its folder."""
    code = f"import json, os, sys, time\nout = sys.argv[1]\n{textwrap.dedent(body)}"
    return CommandProxy(
        {}, argv=[sys.executable, "-c", code, "{out}", "{lr}", "{steps}"], **options
    )


CSV = """
os.makedirs(out + "/logs/version_0")
file = open(out + "/logs/version_0/metrics.csv", "w")
print("iter,total_tokens,loss,val_loss", file=file)
for step in range(1, 5):
    print(step, step * 1000, 5 - step, "", sep=",", file=file, flush=True)
print("4,,,1.25", file=file, flush=True)
"""
LOGGED = {"reports": "{out}/logs/version_*/metrics.csv"}
LOGGED["map"] = {"total_tokens": "tokens", "val_loss": "final_loss"}


def test_a_csv_file_is_the_curve_and_its_last_validation_row_the_loss(ctx):
    outcome = trainer(CSV, **LOGGED).train(TRIAL, ctx)
    assert (outcome.status, outcome.loss, outcome.note) == (Status.DONE, 1.25, "")
    assert [(p["tokens"], p["loss"]) for p in ctx.curve][::3] == [(1000, 4), (4000, 1)]
    assert "total_tokens" not in ctx.curve[0]


def test_a_file_is_heard_while_the_trainer_runs(ctx):
    ctx.stop_at = 2000
    with pytest.raises(StopTrial):
        trainer(CSV + "time.sleep(60)", **LOGGED).train(TRIAL, ctx)
    diverging = CSV.replace("5 - step", "5 - step if step < 3 else 'nan'")
    ctx.stop_at = sys.maxsize
    (ctx.checkpoint_dir / "out").rename(ctx.checkpoint_dir / "before")
    outcome = trainer(diverging + "time.sleep(60)", **LOGGED).train(TRIAL, ctx)
    assert (outcome.status, outcome.tokens) == (Status.DIVERGED, 3000)


def test_a_logger_that_rewrites_its_file_is_not_heard_twice(ctx):
    body = """
    rows = []
    for step in range(1, 5):
        rows.append({"step": step * 10, "loss": 5 - step})
        if step == 3:
            rows[0]["memory"] = 7
        names = sorted({name for row in rows for name in row})
        with open(out + "/log.csv", "w") as file:
            print(*names, sep=",", file=file)
            for row in rows:
                print(*(row.get(name, "") for name in names), sep=",", file=file)
        time.sleep(0.25)
    print(json.dumps({"final_loss": 1.5}))
    """
    assert trainer(body, reports="{out}/log.csv").train(TRIAL, ctx).loss == 1.5
    assert [point["tokens"] for point in ctx.curve] == [1000, 2000, 3000, 4000]


def test_a_tensorboard_folder_is_read_without_tensorboard(ctx, tmp_path):
    events = [scalar_event(step, "train/loss", 5 - step / 10) for step in (10, 20, 30, 40)]
    events.append(scalar_event(40, "eval/loss", 1.75))
    (tmp_path / "events").write_bytes(b"".join(events) + events[0][:9])
    body = f"""
    os.makedirs(out + "/runs/today")
    data = open({str(tmp_path / "events")!r}, "rb").read()
    open(out + "/runs/today/events.out.tfevents.1", "wb").write(data)
    """
    names = {"train/loss": "loss", "eval/loss": "final_loss"}
    outcome = trainer(body, reports="{out}/runs", map=names).train(TRIAL, ctx)
    assert outcome.loss == 1.75
    assert [point["tokens"] for point in ctx.curve] == [1000, 2000, 3000, 4000]


def lines(*said, **options):
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in said)
    return trainer(f"sys.stdout.write({text!r})", **options)


def test_names_and_steps_of_others_are_translated(ctx):
    said = [{"step": s, "train": {"loss": 4.0}, "learning_rate": 0.1} for s in (20, 40, 60, 80)]
    names = {"train.loss": "loss", "eval_loss": "final_loss", "learning_rate": "lr"}
    proxy = lines(*said, {"step": 80, "eval_loss": 3.5}, map=names, step_tokens=50)
    outcome = proxy.train(TRIAL, ctx)
    assert outcome.loss == 3.5
    assert ctx.curve[0] == {"tokens": 1000, "loss": 4.0, "lr": 0.1}


@pytest.mark.parametrize(
    ("said", "options", "note"),
    [
        ([{"step": 40, "loss": 1.0}], {}, "never wrote a line with `final_loss`"),
        ([{"step": 40, "loss": 1.0}], {"map": {"val": "final_loss"}}, r"its final loss \(`val`\)"),
        (
            [{"step": 20, "val": 2.0}, {"step": 40, "loss": 1.0}],
            {"map": {"val": "final_loss"}},
            "last validation loss is from 2,000 of 4,000 tokens: let the trainer evaluate",
        ),
        (
            [{"step": s, "loss": 1.0} for s in range(8)] + [{"final_loss": 1.0}],
            {},
            "last report is at 700 tokens, the trial is one of 4,000",
        ),
        (
            [{"step": s, "loss": 1.0} for s in (40, 80, 120)] + [{"final_loss": 1.0}],
            {},
            "another number of tokens, or step_tokens",
        ),
        ([{"step": None, "loss": 1.0}], {}, "has a `step` that is no number"),
        (["a,b"], {"reports": "{out}/log.csv"}, "wrote no reports at .*log.csv"),
    ],
)
def test_no_other_loss_is_taken_for_the_final_one(ctx, said, options, note):
    outcome = lines(*said, **options).train(TRIAL, ctx)
    assert outcome.status is Status.FAILED
    assert math.isnan(outcome.loss)
    assert re.search(note, outcome.note), outcome.note


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"train_loss": "final_loss"}, "a name of the training loss"),
        ({"val_loss": "final_los"}, "means nothing here"),
        (["val_loss"], "must be a mapping"),
    ],
)
def test_a_map_that_cannot_be_right_is_refused(names, said):
    with pytest.raises(SpaceError, match=said):
        lines("", map=names)


def test_floods_half_lines_and_bytes_that_are_no_text(ctx):
    body = r"""
    raw = sys.stdout.buffer
    raw.write(b"\xff\xfe\x00 noise\n" + b"x" * 5_000_000 + b"\n")
    for step in range(1, 40_001):
        raw.write(b'{"tokens": %d, "loss": 2.0}\n' % (step // 10))
    raw.write(b'{"tokens": 4000, "lo\n{"final_loss": 1.5}')
    """
    outcome = trainer(body).train(TRIAL, ctx)
    assert (outcome.status, outcome.loss) == (Status.DONE, 1.5)
    assert len(ctx.curve) <= 5000
    assert ctx.curve[-1]["tokens"] == 4000


def test_a_damaged_event_file_fails_with_its_name(ctx):
    body = "open(out + '/a.tfevents', 'wb').write(b'x' * 40)\nprint('{\"final_loss\": 1}')"
    outcome = trainer(body, reports="{out}").train(TRIAL, ctx)
    assert outcome.status is Status.FAILED
    assert "a.tfevents cannot be read" in outcome.note


def test_a_folder_s_own_name_is_no_pattern(tmp_path, ctx):
    ctx.checkpoint_dir = Path(tmp_path / "a[1]*")
    assert trainer(CSV, **LOGGED).train(TRIAL, ctx).loss == 1.25
