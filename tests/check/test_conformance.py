"""``planner check --proxy``: every broken promise is named, a proxy that keeps all goes."""

import json
import math
import random
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from planner.check.conformance import conformance
from planner.check.stage import Stage
from planner.cli import app
from planner.errors import UsageError
from planner.finding import Severity
from planner.proxy import Outcome, Preempted, StopTrial
from planner.run import Status
from planner.shape import size_from_mapping
from tests.proxies.toy_tokens import write_tokens

GPT = """
proxy: {{name: gpt, options: {{context: 16, head_dim: 8}}}}
data: {data}
sizes: {{width: [16, 24], depth: 1}}
batch_tokens: {{log: [64, 256], factor: 4}}
budget: {{flops: 1e13}}
"""


class Descent:
    """A quadratic with a seeded start: deterministic, resumable, forkable; subclasses break it."""

    capabilities = frozenset({"resume", "fork"})

    def __init__(self, data=None):
        pass

    def size(self, shape):
        return size_from_mapping(shape)

    def recipe(self):
        return {"proxy": "descent"}

    def start(self, trial, ctx):
        """Return the position and step a trial starts from."""
        own = ctx.checkpoint_dir / "state.json"
        kept = ctx.parent / f"{trial.fork_at}.json" if trial.parent else None
        for file in filter(None, (own, kept)):
            if file.exists():
                x, step = json.loads(file.read_text())
                ctx.resumed(step * trial.batch_tokens)
                return x, step
        return random.Random(trial.seed).uniform(3, 4), 0

    def train(self, trial, ctx):
        x, begin = self.start(trial, ctx)
        for step in range(begin, trial.steps):
            x -= min(trial.lr, 1e9) * x
            tokens = (step + 1) * trial.batch_tokens
            if tokens in trial.keep_at:
                (ctx.checkpoint_dir / f"{tokens}.json").write_text(json.dumps([x, step + 1]))
            try:
                ctx.report(tokens=tokens, loss=1 + min(x * x, 1e300))
            except Preempted:
                (ctx.checkpoint_dir / "state.json").write_text(json.dumps([x, step + 1]))
                raise
        return self.outcome(trial, x)

    def outcome(self, trial, x):
        taste = trial.warmup_tokens + trial.weight_decay + trial.beta2 + trial.schedule.decay_ratio
        loss = 1 + min(x * x, 1e300) + 1e-9 * taste
        return Outcome(Status.DONE, loss, 0.0, trial.tokens, metrics={"params": 1e4})


def stage(make, folder):
    return Stage(make, {"params": 1e4}, 0.01, 256, folder)


def codes(make, folder):
    return {f.code: f.severity for f in conformance(stage(make, folder))}


def test_a_proxy_that_keeps_its_promises_has_no_finding(tmp_path):
    assert codes(Descent, tmp_path) == {}


class Unseeded(Descent):
    def start(self, trial, ctx):
        x, step = super().start(trial, ctx)
        return x + random.random(), step


class Deaf(Descent):
    def train(self, trial, ctx):
        x, _ = self.start(trial, ctx)
        for step in range(trial.steps):
            x -= trial.lr * x
            try:
                ctx.report(tokens=(step + 1) * trial.batch_tokens, loss=1 + x * x)
            except Exception:
                continue
        return self.outcome(trial, x)


class Forgetful(Descent):
    def start(self, trial, ctx):
        return random.Random(trial.seed).uniform(3, 4), 0


class HalfSaved(Descent):
    def start(self, trial, ctx):
        x, step = super().start(trial, ctx)
        return (x + 0.1 if step else x), step


class OneRate(Descent):
    def train(self, trial, ctx):
        return super().train(replace(trial, lr=0.01), ctx)


class OneSeed(Descent):
    def start(self, trial, ctx):
        return super().start(replace(trial, seed=0), ctx)


class Short(Descent):
    def outcome(self, trial, x):
        return Outcome(Status.DONE, 1 + x * x, math.nan, trial.tokens - 256)


class Larger(Descent):
    def outcome(self, trial, x):
        return Outcome(Status.DONE, 1 + x * x, 0.0, trial.tokens, metrics={"params": 1.1e4})


class Raises(Descent):
    def train(self, trial, ctx):
        if trial.lr > 1:
            raise FloatingPointError("overflow")
        return super().train(trial, ctx)


class Broken(Descent):
    def train(self, trial, ctx):
        raise ValueError("no such corpus")


class Cheap(Descent):
    def size(self, shape):
        return size_from_mapping({"params": 1e4, "flops_per_token": 2e4})


class Timed(Descent):
    made = 0

    def recipe(self):
        Timed.made += 1
        return {"made": Timed.made}


@pytest.mark.parametrize(
    ("make", "code", "severity"),
    [
        (Unseeded, "not-deterministic", Severity.WARNING),
        (Deaf, "no-stop", Severity.BLOCKING),
        (Forgetful, "resumes-nothing", Severity.WARNING),
        (HalfSaved, "resume", Severity.BLOCKING),
        (HalfSaved, "fork", Severity.BLOCKING),
        (OneRate, "lr-ignored", Severity.BLOCKING),
        (OneSeed, "seed-ignored", Severity.WARNING),
        (Short, "tokens", Severity.BLOCKING),
        (Short, "loss-se", Severity.WARNING),
        (Short, "params-unseen", Severity.INFO),
        (Larger, "params", Severity.BLOCKING),
        (Raises, "divergence-fails", Severity.WARNING),
        (Broken, "no-loss", Severity.BLOCKING),
        (Cheap, "flops", Severity.WARNING),
        (Timed, "recipe", Severity.BLOCKING),
        (Short, "unread", Severity.INFO),
    ],
)
def test_a_broken_promise_is_named(make, code, severity, tmp_path):
    assert codes(make, tmp_path).get(f"proxy-{code}") is severity


class Unfinished:
    capabilities = frozenset()

    def __init__(self, data=None):
        pass

    size = Descent.size
    train = Descent.train


class TextCapabilities(Descent):
    capabilities = "resume"


class Misspelt(Descent):
    capabilities = frozenset({"resumes"})


class Unmeasured(Descent):
    capabilities = frozenset({"coordinates"})


class PlainSize(Descent):
    def size(self, shape):
        return dict(shape)


class OwnSize(Descent):
    def size(self, shape):
        return size_from_mapping({"params": shape["width"]})


class NoData(Descent):
    def recipe(self):
        raise RuntimeError("no corpus here")


class Silent(Descent):
    def train(self, trial, ctx):
        super().train(trial, ctx)


class Worded(Descent):
    def outcome(self, trial, x):
        return Outcome("done", 1.0, 0.0, trial.tokens)


class Spelt(Descent):
    def outcome(self, trial, x):
        return Outcome(Status.DONE, "1.0", 0.0, trial.tokens)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Unfinished, "has no method `recipe`"),
        (TextCapabilities, "`capabilities` is 'resume', no set of names"),
        (Misspelt, "declares `resumes`, which is no capability"),
        (Unmeasured, "declares `coordinates`, but has no method `coordinates`"),
        (PlainSize, "size() returned {'params': 10000.0}, no planner.shape.Size"),
        (OwnSize, "raised KeyError('width')"),
        (NoData, "recipe() raised RuntimeError('no corpus here')"),
        (Silent, "train() returned None, no planner.proxy.Outcome"),
        (Worded, "has the status 'done', no planner.run.Status"),
        (Spelt, "has a `loss` that is no number: '1.0'"),
    ],
)
def test_what_is_no_proxy_at_all_gets_one_sentence(make, said, tmp_path):
    (found,) = [f for f in conformance(stage(make, tmp_path)) if f.severity is Severity.BLOCKING]
    assert said in found.what


class Stacks(Descent):
    """Trains a stack one trial after the other; subclasses break it."""

    capabilities = frozenset({"train_many"})
    most = 8

    def stack_key(self, trial, device):
        return f"{trial.tokens} of {trial.batch_tokens}"

    def stack_size(self, trial, device):
        return self.most

    def train_many(self, trials, contexts):
        return [self.one(trial, ctx) for trial, ctx in zip(trials, contexts, strict=True)]

    def one(self, trial, ctx):
        try:
            return self.train(trial, ctx)
        except StopTrial:
            return None


class OneOrder(Stacks):
    def one(self, trial, ctx):
        return super().one(replace(trial, seed=0), ctx)


class AllStop(Stacks):
    def one(self, trial, ctx):
        return self.train(trial, ctx)


class Deafened(Stacks):
    def one(self, trial, ctx):
        return super().one(trial, ctx) or self.outcome(trial, 1.0)


class Alone(Stacks):
    most = 1


@pytest.mark.parametrize(
    ("make", "severity", "said"),
    [
        (OneOrder, Severity.BLOCKING, "Trials stacked ended at"),
        (AllStop, Severity.BLOCKING, "when one of its trials was stopped"),
        (Deafened, Severity.BLOCKING, "though the first was stopped half-way"),
        (Alone, Severity.INFO, "stacks no three trials"),
    ],
)
def test_a_stack_that_is_no_row_of_single_trials_is_named(make, severity, said, tmp_path):
    found = [f for f in conformance(stage(make, tmp_path)) if "stack" in f.code]
    assert [f.severity for f in found] == [severity]
    assert said in found[0].what


def test_a_stack_that_is_has_no_finding(tmp_path):
    assert [code for code in codes(Stacks, tmp_path) if "stack" in code] == []


def check(*words):
    return CliRunner().invoke(app, ["check", "--proxy", *map(str, words)])


def test_the_command_says_what_is_wrong_and_what_would_be_right():
    result = check(f"{Path(__file__)}:Deaf")
    assert result.exit_code == 2
    assert result.stdout.startswith("NO-GO")
    assert "would burn its whole budget" in result.stdout
    assert "-> let StopTrial pass" in result.stdout


def test_the_shipped_proxies_keep_their_promises(tmp_path, monkeypatch):
    plain = check("synthetic")
    assert plain.exit_code == 0
    assert check("image").exit_code == 0
    assert plain.stderr.startswith("rehearsing synthetic in trials of 40 steps at {")
    monkeypatch.setenv("PLANNER_CACHE", str(tmp_path / "cache"))
    space = tmp_path / "toy.yaml"
    space.write_text(GPT.format(data=json.dumps(write_tokens(tmp_path))))
    findings = json.loads(check("gpt", space, "--json").stdout)["findings"]
    assert [finding["code"] for finding in findings] == ["proxy-stack-unseen"]  # none on a CPU


def test_a_proxy_that_reads_other_sizes_is_told_so():
    result = CliRunner().invoke(app, ["check", "--proxy", "gpt", "--set", "sizes.height=3"])
    assert "width and a depth" in result.stdout
    assert result.exit_code == 2


def test_nothing_to_check_is_refused():
    with pytest.raises(UsageError, match="name a search space"):
        CliRunner().invoke(app, ["check"], catch_exceptions=False)
