"""How the command proxy starts its trainer, lets it resume, and ends all that it has started."""

from __future__ import annotations

import os
import sys
import textwrap
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from planner._secrets import HIDDEN
from planner.errors import SpaceError
from planner.proxies.command import CommandProxy
from planner.proxy import Preempted, ProxySpec
from planner.run import Status, Trial
from planner.sweep.events import Died, Job
from planner.sweep.worker import run_job
from tests.proxies.killed_worker import alive, killed_worker, wait_for

TRIAL = Trial("x", {"params": 2e4}, 4000, 100, 0.01, 200)


def python(body, *more, **options):
    code = textwrap.dedent(body)
    argv = [sys.executable, "-c", code, "{out}", "{lr}", "{steps}", *more]
    return CommandProxy({}, **({"argv": argv} | options))


SAVING = """
import json, os, signal, sys
out, steps, states = sys.argv[1], int(sys.argv[3]), []
save = os.path.join(sys.argv[1], "state-1")
begin = int(open(save).read() or 0) if "--resume" in sys.argv else 0
if begin < 0: sys.exit("the state is damaged")
def leave(*_):
    open(save, "w").write(str(step))
    sys.exit(3)
signal.signal(signal.SIGTERM, leave)
for step in range(begin, steps, 10):
    print(json.dumps({"step": step + 10, "loss": 4 - step / 20}), flush=True)
    if len(sys.argv) > 4 and sys.argv[4] == "wait" and step == 20:
        signal.pause()
print(json.dumps({"final_loss": 2.0, "begin": begin}))
"""
RESUMES = {"resume_argv": ["--resume", "{latest}"], "resume_when": "state-*"}


def test_a_trainer_asked_to_leave_saves_and_goes_on_from_there(ctx):
    waiting = python(SAVING, "wait", **RESUMES)
    assert "resume" in waiting.capabilities
    ctx.heed = lambda: ctx.curve[-1:] and ctx.curve[-1]["tokens"] == 3000 and leave()

    def leave():
        raise Preempted

    with pytest.raises(Preempted):
        waiting.train(TRIAL, ctx)
    assert (ctx.checkpoint_dir / "out/state-1").read_text() == "20"
    ctx.curve, ctx.heed = [], lambda: None
    outcome = python(SAVING, **RESUMES).train(TRIAL, ctx)
    assert (outcome.status, outcome.loss) == (Status.DONE, 2.0)
    assert [point["tokens"] for point in ctx.curve] == [1000, 2000, 3000, 4000]
    assert ctx.resumed_at == 2000


def test_a_damaged_state_is_no_reason_to_fail(ctx):
    (ctx.checkpoint_dir / "out").mkdir(parents=True)
    (ctx.checkpoint_dir / "out/state-1").write_text("-1")
    outcome = python(SAVING, **RESUMES).train(TRIAL, ctx)
    assert (outcome.status, len(ctx.curve)) == (Status.DONE, 4)
    assert "begun anew, as it would not go on from state-1: the trainer ended" in outcome.note
    assert "the state is damaged" in outcome.note
    assert ctx.resumed_at == 0


def test_without_states_nothing_is_resumed_and_without_words_nothing_can_be(ctx):
    assert python(SAVING, **RESUMES).train(TRIAL, ctx).status is Status.DONE
    assert "resume" not in python(SAVING).capabilities


ORPHAN = """
import os, subprocess, sys, time
sleeper = subprocess.Popen(["sleep", "60"], start_new_session=True)
open(os.path.join(sys.argv[1], "pid"), "w").write(str(sleeper.pid))
print('{"final_loss": 1.5}', flush=True)
"""


def test_what_a_trainer_leaves_behind_is_neither_waited_for_nor_left(ctx):
    began = time.monotonic()
    assert python(ORPHAN).train(TRIAL, ctx).loss == 1.5
    assert time.monotonic() - began < 20
    pid = int((ctx.checkpoint_dir / "out/pid").read_text())
    wait_for(lambda: not alive(pid))


def test_a_killed_worker_takes_the_sessions_of_its_trainer_along(tmp_path):
    pid = killed_worker(python(ORPHAN + "time.sleep(60)").template.argv, tmp_path)
    wait_for(lambda: not alive(pid))


def test_a_trainer_that_hears_no_sigterm_is_killed_and_a_time_limit_holds(ctx):
    body = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    outcome = python(body, timeout_minutes=0.01).train(TRIAL, ctx)
    assert outcome.status is Status.FAILED
    assert "not done after 0.01 minutes" in outcome.note


@dataclass
class LeaveAtOnce:
    """A flag that is set once the trainer is up."""

    file: Path
    seen: list[int] = field(default_factory=list)

    def is_set(self):
        return self.file.exists()


def test_a_silent_trainer_leaves_when_its_worker_is_asked_to(tmp_path):
    body = """
    import os, signal, sys
    def leave(*_):
        open(os.path.join(sys.argv[1], "saved"), "w").close()
        sys.exit(0)
    signal.signal(signal.SIGTERM, leave)
    open(os.path.join(sys.argv[1], "up"), "w").close()
    signal.pause()
    """
    spec = ProxySpec("command", {}, {"argv": list(python(body).template.argv)})
    job = Job("key", TRIAL, 1, spec, str(tmp_path))
    ended = run_job(job, lambda _: None, LeaveAtOnce(tmp_path / "out/up"))
    assert isinstance(ended, Died)
    assert not ended.counts
    assert (tmp_path / "out/saved").exists()


def test_the_environment_and_the_folder_of_the_trainer(ctx, tmp_path):
    body = """
    import json, os
    print(os.environ["API_KEY"], flush=True)
    said = [os.environ["RATE"], os.environ["PATH"] != "", os.getcwd()]
    import sys; print(said, os.environ["API_KEY"], file=sys.stderr)
    print(json.dumps({"final_loss": 1}))
    """
    env = {"RATE": "lr={lr}", "API_KEY": "a-very-secret-value"}
    proxy = python(body, env=env, cwd=str(tmp_path))
    assert proxy.train(TRIAL, ctx).loss == 1
    log = (ctx.checkpoint_dir / "stderr.log").read_text()
    assert f"['lr=0.01', True, '{tmp_path}']" in log
    assert "very-secret" not in log
    assert HIDDEN in log
    assert proxy.recipe()["env"]["RATE"] == "lr={lr}"
    outcome = python(body, cwd="nowhere").train(TRIAL, ctx)
    assert "there is no folder nowhere" in outcome.note


HARM = "; touch {0} $(touch {0}) `touch {0}` ' \" && touch {0}"


@pytest.mark.parametrize(
    "line",
    [
        "printf '%s' {note} >&2; echo '{{\"final_loss\": 1}}' # {lr} {steps}",
        "printf '%s' \"{note}\" >&2; echo '{{\"final_loss\": 1}}' # {lr} {steps}",
        "cat >&2 <<END\n{note}\nEND\necho '{{\"final_loss\": 1}}' # {lr} {steps}",
    ],
)
def test_a_shell_that_was_asked_for_runs_no_value(tmp_path, ctx, line):
    harm = tmp_path / "harm"
    note = HARM.format(harm)
    line = line.replace("{{", "{").replace("}}", "}")
    proxy = CommandProxy({}, argv=line, shell=True)
    shape = {"params": 10, "note": note}
    assert proxy.size(shape).params_matmul == 10
    outcome = proxy.train(Trial("x", shape, 100, 10, 0.1, 0), ctx)
    assert outcome.loss == 1
    assert note in (ctx.checkpoint_dir / "stderr.log").read_text()
    assert not harm.exists()
    assert proxy.recipe()["shell"] is True


def test_a_shell_is_one_line_and_quotes_that_hide_a_value_are_refused():
    with pytest.raises(SpaceError, match="one string"):
        CommandProxy({}, argv=["train", "{lr}"], shell=True)
    with pytest.raises(SpaceError, match="stands in single quotes"):
        CommandProxy({}, argv="sh -c 'train {lr}'", shell=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"argv": "train {tokens}"}, r"holds no \{lr\}: every trial would be the same"),
        ({"argv": "train {lr}"}, r"holds no \{tokens\} or \{steps\}"),
        ({"env": {"A": "{nothing}"}}, r"nothing fills `\{nothing\}`"),
        ({"resume_argv": "--from {newest}"}, r"nothing fills `\{newest\}`"),
        ({"step_tokens": -1}, "`step_tokens` must be a positive number"),
        ({"env": ["A=1"]}, "`env` must be a mapping"),
        ({"cwd": 7}, "`cwd` must be text"),
        ({"argv": "train 'open"}, "cannot be split"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_spent(options, said):
    with pytest.raises(SpaceError, match=said):
        CommandProxy({}, **({"argv": "train {lr} {tokens}"} | options)).size({"params": 10})


def test_sizes_cannot_take_a_word_of_the_trial_and_must_be_counted():
    proxy = CommandProxy({}, argv="train {lr} {tokens}")
    with pytest.raises(SpaceError, match="a key `seed`, which names something of the trial"):
        proxy.size({"params": 10, "seed": 3})
    with pytest.raises(SpaceError, match="states no number of parameters"):
        proxy.size({"params": "FILL_IN"})


def test_a_batch_of_part_sequences_is_named_and_none_below_one_is_asked_for(ctx):
    proxy = CommandProxy({}, argv="train {lr} {steps} {batch_seqs}", context=64)
    assert proxy.recipe()["least_batch"] == 64
    assert "least_batch" not in CommandProxy({}, argv="train {lr} {steps}", context=64).recipe()
    assert "100 tokens is no whole number of sequences of 64" in proxy.train(TRIAL, ctx).note


def test_options_as_usual_leave_old_trials_their_keys():
    argv = ["train", "{lr}", "{tokens}"]
    recipe = {"proxy": "command", "argv": argv, "version": "1", "context": None}
    assert CommandProxy({}, argv=argv).recipe() == recipe
    assert CommandProxy({}, argv=argv, resume_argv="-r", timeout_minutes=9).recipe() == recipe
    assert CommandProxy({}, argv=argv, map={"v": "final_loss"}).recipe() != recipe


def test_a_program_that_may_not_be_run_is_named(ctx, tmp_path):
    script = tmp_path / "train.sh"
    script.write_text("exit 0")
    outcome = CommandProxy({}, argv=[str(script), "{lr}", "{steps}"]).train(TRIAL, ctx)
    assert f"`{script}` cannot be run: Permission denied" in outcome.note
    assert os.access(script, os.R_OK)
